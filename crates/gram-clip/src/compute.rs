//! Where and how a model computes: the device, the number format of the frozen towers, and how much passes
//! them at once. The model carries it; nothing else asks for a device or counts cores.
//!
//! A CPU computes several small passes side by side, each on cores of its own; a GPU computes one large pass
//! at a time.

mod device_name;
mod found;
mod precision;
mod side_by_side;

use std::fmt;
use std::sync::OnceLock;

use burn::tensor::Device;

pub use device_name::{Backend, DeviceChoice, DeviceName};
pub use found::{DeviceFound, cpu_memory, devices};
pub use precision::Precision;

/// The environment variable that names the device where no argument does.
pub const ENVIRONMENT: &str = "GRAM_DEVICE";

/// Why there is nothing to compute on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// Nothing is called that.
    #[error(
        "no device is called `{0}`: auto, cpu, cuda, rocm, metal, vulkan or wgpu; with a number where there are several \
         (cuda:1), and several numbers for several cards (cuda:0,1)"
    )]
    Unknown(String),
    /// A build without the device's feature.
    #[error(
        "device {device}: this build computes on {compiled}: build it with `--features {feature}`, as in `cargo install \
         --path crates/gram-cli --features {feature}`"
    )]
    NotCompiled {
        /// What was asked for.
        device: DeviceName,
        /// What the build knows.
        compiled: String,
        /// The Cargo feature that is missing.
        feature: &'static str,
    },
    /// The driver knows no such device.
    #[error("device {device} is not there: found {found} (`gram devices` lists them)")]
    NotFound {
        /// What was asked for.
        device: DeviceName,
        /// What there is.
        found: String,
    },
    /// It is there and does not compute.
    #[error("device {device} does not start: {problem}")]
    DoesNotStart {
        /// What was asked for.
        device: DeviceName,
        /// What its driver says.
        problem: String,
    },
    /// Numbers that the device cannot compute with.
    #[error("device {device} does not compute in {precision}: take another --precision, such as f32")]
    Precision {
        /// The device.
        device: DeviceName,
        /// What was asked for.
        precision: Precision,
    },
    /// One device was needed.
    #[error("several devices ({0}): this computes on one; `gram bench` takes several")]
    Several(String),
}

/// Where and how a model computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Compute {
    name: DeviceName,
    device: Device,
    precision: Precision,
    images_at_once: usize,
}

/// Images that pass a frozen tower at once, where nobody says how many: on a CPU enough that no core waits,
/// on a GPU enough that reading the weights costs nothing beside the products.
const CPU_IMAGES: usize = 64;
const GPU_IMAGES: usize = 256;

impl Default for Compute {
    fn default() -> Self {
        Self::cpu()
    }
}

impl Compute {
    /// All cores of the CPU, in f32.
    pub fn cpu() -> Self {
        Self {
            name: DeviceName::CPU,
            device: Device::flex(),
            precision: Precision::F32,
            images_at_once: CPU_IMAGES,
        }
    }

    /// A device, in f32. It is started: what cannot compute is found here.
    ///
    /// # Errors
    /// [`ComputeError`] if the build does not know it, it is not there, or it does not start.
    pub fn on(name: DeviceName) -> Result<Self, ComputeError> {
        if name == DeviceName::CPU {
            return Ok(Self::cpu());
        }
        let device = found::start(name)?;
        Ok(Self { name, device, precision: Precision::F32, images_at_once: GPU_IMAGES })
    }

    /// Each of the devices that are chosen; with `auto`, the first GPU that is there, or the CPU.
    ///
    /// # Errors
    /// As [`Compute::on`].
    pub fn all_of(choice: &DeviceChoice) -> Result<Vec<Self>, ComputeError> {
        match choice {
            DeviceChoice::Auto => {
                let first = devices().into_iter().find(|device| !device.is_software);
                Ok(vec![first.map_or_else(|| Ok(Self::cpu()), |device| Self::on(device.name))?])
            }
            DeviceChoice::These(names) => names.iter().map(|name| Self::on(*name)).collect(),
        }
    }

    /// The device that is chosen.
    ///
    /// # Errors
    /// [`ComputeError::Several`], and as [`Compute::on`].
    pub fn of(choice: &DeviceChoice) -> Result<Self, ComputeError> {
        match choice {
            DeviceChoice::These(names) if names.len() > 1 => Err(ComputeError::Several(choice.to_string())),
            _ => Ok(Self::all_of(choice)?.remove(0)),
        }
    }

    /// The device that `GRAM_DEVICE` names; `auto` without it.
    ///
    /// # Errors
    /// As [`Compute::of`].
    pub fn of_environment() -> Result<Self, ComputeError> {
        match std::env::var(ENVIRONMENT) {
            Ok(name) => Self::of(&name.parse()?),
            Err(_) => Self::of(&DeviceChoice::Auto),
        }
    }

    /// What tests compute on: [`of_environment`](Self::of_environment), started once.
    ///
    /// # Panics
    /// If there is no such device.
    pub fn tested() -> Self {
        static TESTED: OnceLock<Compute> = OnceLock::new();
        let start = || Self::of_environment().unwrap_or_else(|error| panic!("{ENVIRONMENT}: {error}"));
        TESTED.get_or_init(start).clone()
    }

    /// The frozen towers in another number format.
    ///
    /// # Errors
    /// [`ComputeError::Precision`] if the device does not compute in it.
    pub fn in_precision(self, precision: Precision) -> Result<Self, ComputeError> {
        match self.device.supports_dtype(precision.float()) {
            true => Ok(Self { precision, ..self }),
            false => Err(ComputeError::Precision { device: self.name, precision }),
        }
    }

    /// So many images through a frozen tower at once, at least one.
    pub fn with_images_at_once(self, images: usize) -> Self {
        Self { images_at_once: images.max(1), ..self }
    }

    /// What it is called.
    pub fn name(&self) -> DeviceName {
        self.name
    }

    /// Where tensors live.
    pub fn device(&self) -> Device {
        self.device.clone()
    }

    /// The number format of the frozen towers' products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Images that pass a frozen tower at once.
    pub fn images_at_once(&self) -> usize {
        self.images_at_once
    }

    /// Images that one pass takes of them: on a CPU a core's share.
    pub fn images_of_a_pass(&self) -> usize {
        /// As many as keep a core's products large and its memory small.
        const OF_A_CORE: usize = 8;
        if self.is_cpu() { OF_A_CORE } else { self.images_at_once }
    }

    /// Classes whose gradient one pass computes: on a CPU enough that a product of matrices is more
    /// arithmetic than reading weights, and few enough that a hundred classes keep two cores busy.
    pub fn classes_of_a_pass(&self) -> usize {
        const OF_A_CORE: usize = 50;
        if self.is_cpu() { OF_A_CORE } else { usize::MAX }
    }

    /// Whether products of a gradient's pass are kept for the Hessian at the same point. What they are of is
    /// told by their contents, which a CPU reads at once and a GPU would have to hand back.
    pub fn keeps_products(&self) -> bool {
        self.is_cpu()
    }

    /// Passes that are computed side by side: as many as there are cores, or one on a GPU.
    pub fn passes_at_once(&self) -> usize {
        if self.is_cpu() { rayon::current_num_threads() } else { 1 }
    }

    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.name == DeviceName::CPU
    }
}

/// The device, and the number format where it is not f32: `cuda:0 bf16`.
impl fmt::Display for Compute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.precision {
            Precision::F32 => write!(formatter, "{}", self.name),
            precision => write!(formatter, "{} {precision}", self.name),
        }
    }
}
