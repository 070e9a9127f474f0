//! The devices that are there.

use std::fmt;

use burn::tensor::Device;

use super::{Backend, ComputeError, DeviceName};

/// A GPU, or a program that stands in for one, as its driver describes it.
#[derive(Clone, Debug)]
pub struct DeviceFound {
    /// What `--device` calls it.
    pub name: DeviceName,
    /// The card's own name.
    pub description: String,
    /// Bytes of its memory, where the driver tells.
    pub memory: Option<u64>,
    /// Whether it is a program that computes on the CPU: for tests, and slow.
    pub is_software: bool,
}

impl fmt::Display for DeviceFound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name, self.description)
    }
}

/// The GPUs that this build knows and this machine has, in the order in which `auto` looks for one. The CPU,
/// which is always there, is not among them. A card that several drivers reach is there for each.
pub fn devices() -> Vec<DeviceFound> {
    #[cfg(feature = "gpu")]
    return gpu::devices();
    #[cfg(not(feature = "gpu"))]
    Vec::new()
}

/// The first card, in the order of [`Backend::ALL`]; programs that stand in for one do not count.
pub(super) fn first_card() -> Option<DeviceName> {
    #[cfg(feature = "gpu")]
    return gpu::first_card();
    #[cfg(not(feature = "gpu"))]
    None
}

/// Bytes of the machine's memory; [`None`] where the system does not say.
pub fn cpu_memory() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// A GPU that has computed something.
pub(super) struct Started {
    pub(super) device: Device,
    /// Bytes of its memory, where the driver tells.
    pub(super) memory: Option<u64>,
    /// Bytes of the largest tensor, where the driver has a bound for it.
    pub(super) largest_tensor: Option<u64>,
    /// The card's own name.
    pub(super) description: Option<String>,
}

/// Starts a GPU.
pub(super) fn start(name: DeviceName) -> Result<Started, ComputeError> {
    if !name.backend.is_compiled() {
        let compiled: Vec<&str> = Backend::ALL
            .into_iter()
            .rev()
            .filter(|backend| backend.is_compiled())
            .map(Backend::name)
            .collect();
        let compiled = if compiled.len() == 1 { "cpu only".to_owned() } else { compiled.join(", ") };
        return Err(ComputeError::NotCompiled { device: name, compiled, feature: name.backend.name() });
    }
    #[cfg(feature = "gpu")]
    return gpu::start(name);
    #[cfg(not(feature = "gpu"))]
    Ok(Started { device: Device::flex(), memory: None, largest_tensor: None, description: None })
}

#[cfg(feature = "gpu")]
mod gpu {
    use std::any::Any;
    use std::fs;
    use std::panic::{self, AssertUnwindSafe};
    use std::process::{Command, Stdio};

    use burn::backend::DispatchDevice;
    use burn::tensor::{Device, DeviceType, Tensor};
    use burn_cubecl::cubecl::ir::DeviceIdentity;

    use super::{Backend, ComputeError, DeviceFound, DeviceName, Started, cpu_memory};

    /// The devices of a backend, by their numbers.
    fn of_backend(backend: Backend) -> Vec<Device> {
        let kind = match backend {
            Backend::Cpu => return Vec::new(),
            #[cfg(feature = "cuda")]
            Backend::Cuda => DeviceType::Cuda,
            #[cfg(feature = "rocm")]
            Backend::Rocm => DeviceType::Rocm,
            #[cfg(feature = "metal")]
            Backend::Metal => DeviceType::Metal,
            #[cfg(feature = "vulkan")]
            Backend::Vulkan => DeviceType::Vulkan,
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => DeviceType::Wgpu,
            #[allow(unreachable_patterns)]
            _ => return Vec::new(),
        };
        // A driver that is broken panics where it should say so.
        quietly(|| Device::enumerate(kind).into_vec()).unwrap_or_default()
    }

    pub(super) fn devices() -> Vec<DeviceFound> {
        let mut found = Vec::new();
        for backend in Backend::ALL {
            for (number, device) in of_backend(backend).into_iter().enumerate() {
                found.extend(describe(DeviceName { backend, number }, &device));
            }
        }
        found
    }

    /// Opens no card behind the first: to open one takes a moment and some of its memory.
    pub(super) fn first_card() -> Option<DeviceName> {
        let of = |backend: Backend| {
            let numbered = of_backend(backend).into_iter().enumerate();
            numbered.map(move |(number, device)| (DeviceName { backend, number }, device))
        };
        let is_card = |device: &Device| identity(device).is_some_and(|identity| identity.physical.is_some());
        Backend::ALL.into_iter().flat_map(of).find(|(_, device)| is_card(device)).map(|(name, _)| name)
    }

    /// Who a device is; nothing if it does not start.
    fn identity(device: &Device) -> Option<DeviceIdentity> {
        quietly(|| device.identity()).ok().flatten()
    }

    /// What a device says of itself; nothing if it does not start.
    fn describe(name: DeviceName, device: &Device) -> Option<DeviceFound> {
        let identity = identity(device)?;
        let (memory, is_software) = (memory(&identity), identity.physical.is_none());
        Some(DeviceFound { name, description: identity.name, memory, is_software })
    }

    /// Bytes of a device's memory, as the system tells: burn does not.
    fn memory(identity: &DeviceIdentity) -> Option<u64> {
        let Some(physical) = &identity.physical else { return cpu_memory() };
        let address = physical.pci_address.as_ref()?.to_string();
        // AMD's driver for Linux has a file for it, NVIDIA's a program on all systems.
        if let Ok(bytes) = fs::read_to_string(format!("/sys/bus/pci/devices/{address}/mem_info_vram_total")) {
            return bytes.trim().parse().ok();
        }
        let query = ["--query-gpu=memory.total", "--format=csv,noheader,nounits", "--id", &address];
        let told = Command::new("nvidia-smi").args(query).stderr(Stdio::null()).output().ok()?;
        let mebibytes: u64 = String::from_utf8(told.stdout).ok()?.trim().parse().ok()?;
        told.status.success().then_some(mebibytes << 20)
    }

    pub(super) fn start(name: DeviceName) -> Result<Started, ComputeError> {
        let found = of_backend(name.backend);
        let Some(device) = found.into_iter().nth(name.number) else {
            let mut found: Vec<String> = devices().iter().map(ToString::to_string).collect();
            found.push("cpu".to_owned());
            return Err(ComputeError::NotFound { device: name, found: found.join(", ") });
        };
        let sum = quietly(|| Tensor::<1>::ones([2], &device).sum().into_scalar::<f32>());
        match sum {
            Ok(sum) if sum == 2.0 => {
                let identity = identity(&device);
                let largest_tensor = match device.as_dispatch() {
                    DispatchDevice::Cube(device) => Some(device.client().properties().memory.max_page_size),
                    _ => None,
                };
                let memory = identity.as_ref().and_then(memory);
                let description = identity.map(|identity| identity.name);
                Ok(Started { device, memory, largest_tensor, description })
            }
            Ok(sum) => {
                Err(ComputeError::DoesNotStart { device: name, problem: format!("1 + 1 is {sum} there") })
            }
            Err(problem) => Err(ComputeError::DoesNotStart { device: name, problem }),
        }
    }

    /// What `work` gives, or what it panics with, which nobody else hears of: drivers that are missing or
    /// old panic.
    fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| ()));
        let outcome = panic::catch_unwind(AssertUnwindSafe(work));
        panic::set_hook(hook);
        outcome.map_err(|panic| first_line(&*panic))
    }

    fn first_line(panic: &(dyn Any + Send)) -> String {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("its driver failed");
        text.lines().next().unwrap_or_default().to_owned()
    }
}
