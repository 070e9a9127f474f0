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

use burn::tensor::{Device, Tensor};
pub use device_name::{Backend, DeviceChoice, DeviceName};
pub use found::{DeviceFound, cpu_memory, devices};
pub use precision::Precision;

use crate::product::allow_tf32;

/// The environment variable that names the device where no argument does.
pub const ENVIRONMENT: &str = "GRAM_DEVICE";

/// Why there is nothing to compute on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// Nothing is called that.
    #[error(
        "no device is called `{0}`: --device and {ENVIRONMENT} take auto, cpu, cuda, rocm, metal, vulkan or wgpu; with a \
         number where there are several (cuda:1), and several numbers for several cards (cuda:0,1)"
    )]
    Unknown(String),
    /// One device, twice.
    #[error("`{0}` names one device twice")]
    Twice(String),
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
    #[error("device {device} does not compute in {precision}: it does in {known} (--precision)")]
    Precision {
        /// The device.
        device: DeviceName,
        /// What was asked for.
        precision: Precision,
        /// What it computes in.
        known: String,
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
    allows_tf32: bool,
    /// Where somebody says how many.
    images_at_once: Option<usize>,
    /// As many as the memory holds of a model.
    images_that_fit: Option<usize>,
    memory: Option<u64>,
    /// Bytes of the largest tensor, where that is less than the memory.
    largest_tensor: Option<u64>,
    /// What a GPU calls itself.
    description: Option<String>,
}

/// What an image takes on its way through a layer of a frozen tower, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BytesOfImage {
    /// All that is there at once.
    pub(crate) all: u64,
    /// The largest tensor.
    pub(crate) largest_tensor: u64,
}

/// Images that pass a frozen tower at once, where nobody says how many: on a CPU enough that no core waits,
/// on a GPU enough that reading the weights costs nothing beside the products.
const CPU_IMAGES: usize = 64;
const GPU_IMAGES: usize = 256;

/// The part of a device's memory that a batch may take; weights, other batches and other programs need some.
const SHARE_OF_MEMORY: u64 = 4;

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
            allows_tf32: false,
            images_at_once: None,
            images_that_fit: None,
            memory: cpu_memory(),
            largest_tensor: None,
            description: None,
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
        let found::Started { device, memory, largest_tensor, description } = found::start(name)?;
        Ok(Self { name, device, memory, largest_tensor, description, ..Self::cpu() })
    }

    /// Each of the devices that are chosen; with `auto`, the first GPU that is there, or the CPU.
    ///
    /// # Errors
    /// As [`Compute::on`].
    pub fn all_of(choice: &DeviceChoice) -> Result<Vec<Self>, ComputeError> {
        match choice {
            DeviceChoice::Auto => Ok(vec![found::first_card().map_or_else(|| Ok(Self::cpu()), Self::on)?]),
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
        let knows = |precision: &Precision| self.device.supports_dtype(precision.float());
        if knows(&precision) {
            return Ok(Self { precision, ..self });
        }
        let known: Vec<&str> = Precision::ALL.into_iter().filter(knows).map(Precision::name).collect();
        Err(ComputeError::Precision { device: self.name, precision, known: known.join(", ") })
    }

    /// Lets NVIDIA's tensor cores round the factors of products in f32 to TF32, or not: in the whole process,
    /// as PyTorch's switch does. On other devices it changes nothing.
    pub fn with_tf32(self, allowed: bool) -> Self {
        allow_tf32(allowed);
        Self { allows_tf32: allowed && self.name.backend == Backend::Cuda, ..self }
    }

    /// So many images through a frozen tower at once, at least one.
    pub fn with_images_at_once(self, images: usize) -> Self {
        Self { images_at_once: Some(images.max(1)), ..self }
    }

    /// Sizes batches for a model: on a GPU as many images as a quarter of its memory holds, and whose largest
    /// tensor is one that the driver allows, up to 256; unless their number is given.
    pub(crate) fn sized_for(mut self, image: BytesOfImage) -> Self {
        let fit = |bytes: u64, each: u64| (bytes / each.max(1)) as usize;
        let in_memory = self.memory.map(|memory| fit(memory / SHARE_OF_MEMORY, image.all));
        let in_a_tensor = self.largest_tensor.map(|largest| fit(largest, image.largest_tensor));
        let both = in_memory.into_iter().chain(in_a_tensor).min();
        self.images_that_fit = both.filter(|_| !self.is_cpu());
        self
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
        let usual = if self.is_cpu() { CPU_IMAGES } else { GPU_IMAGES };
        let fits = self.images_that_fit.unwrap_or(usual);
        self.images_at_once.unwrap_or(usual.min(fits).max(1))
    }

    /// Bytes of the device's memory, where that is known.
    pub fn memory(&self) -> Option<u64> {
        self.memory
    }

    /// Bytes that the graph of one gradient may take: a share of a GPU's memory; of a CPU's no more than is
    /// asked for.
    pub fn bytes_of_a_graph(&self, asked: u64) -> u64 {
        match (self.is_cpu(), self.memory) {
            (false, Some(memory)) => asked.min(memory / 2),
            _ => asked,
        }
    }

    /// Images that one pass takes of them: on a CPU a core's share.
    pub fn images_of_a_pass(&self) -> usize {
        /// As many as keep a core's products large and its memory small.
        const OF_A_CORE: usize = 8;
        if self.is_cpu() { OF_A_CORE } else { self.images_at_once() }
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

/// The device, and the number format where it is not f32 in full: `cuda:0 bf16`, `cuda:0 tf32`.
impl fmt::Display for Compute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.name, self.format())
    }
}

impl Compute {
    /// What decides numbers, for the identity of a run: the kind of device, whichever of several it is, and
    /// the number format.
    pub fn identity(&self) -> String {
        let of = self.description.as_ref().map_or(String::new(), |name| format!(" {name}"));
        format!("{}{of}{}", self.name.backend, self.format())
    }

    /// The number format behind the name of a device; nothing for f32 in full.
    fn format(&self) -> String {
        let rounded = match self.precision {
            Precision::F32 => String::new(),
            precision => format!(" {precision}"),
        };
        rounded + if self.allows_tf32 { " tf32" } else { "" }
    }
}

/// Whether a tensor lives where the CPU's backend computes.
pub(crate) fn is_on_cpu<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device().without_autodiff() == Device::flex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_what_a_quarter_of_a_gpu_s_memory_holds_unless_they_are_given() {
        let card = |gigabytes: u64| Compute {
            name: DeviceName { backend: Backend::Cuda, number: 0 },
            memory: Some(gigabytes << 30),
            ..Compute::cpu()
        };
        let image = BytesOfImage { all: 10 << 20, largest_tensor: 2 << 20 };
        let images = |compute: Compute| compute.sized_for(image).images_at_once();
        assert_eq!((images(card(2)), images(card(80)), images(card(0))), (51, 256, 1));
        assert_eq!(images(card(2).with_images_at_once(300)), 300);
        assert_eq!(images(Compute { memory: None, ..card(0) }), 256);
        assert_eq!(images(Compute { largest_tensor: Some(128 << 20), ..card(80) }), 64);
        assert_eq!(images(Compute::cpu()), 64);
        assert_eq!(
            (card(2).bytes_of_a_graph(4 << 30), card(80).bytes_of_a_graph(4 << 30)),
            (1 << 30, 4 << 30)
        );
    }

    #[test]
    fn a_device_that_is_not_compiled_in_or_not_there_says_what_to_build_or_what_there_is() {
        for backend in Backend::ALL.into_iter().filter(|backend| *backend != Backend::Cpu) {
            let error = Compute::on(DeviceName { backend, number: 99 }).map(|_| ()).unwrap_err().to_string();
            match backend.is_compiled() {
                true => assert!(
                    error.starts_with(&format!("device {backend}:99 is not there: found ")),
                    "{error}"
                ),
                false => {
                    let expected = format!("build it with `--features {backend}`, as in ");
                    assert!(error.contains(&expected), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_number_format_that_is_not_f32_stands_behind_the_device() {
        assert_eq!(Compute::cpu().to_string(), "cpu");
        assert_eq!(Compute::cpu().in_precision(Precision::Bf16).unwrap().to_string(), "cpu bf16");
        let card = Compute {
            name: DeviceName { backend: Backend::Cuda, number: 1 },
            description: Some("NVIDIA H100".to_owned()),
            allows_tf32: true,
            ..Compute::cpu()
        };
        assert_eq!(
            (card.to_string().as_str(), card.identity().as_str()),
            ("cuda:1 tf32", "cuda NVIDIA H100 tf32")
        );
        assert_eq!(Compute::cpu().with_tf32(true).with_tf32(false).identity(), "cpu");
    }
}
