//! What devices are called: `cpu`, `cuda`, `cuda:1`.

use std::fmt;
use std::str::FromStr;

use super::ComputeError;

/// What computes: the CPU, or a GPU by way of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    /// The CPU.
    Cpu,
    /// NVIDIA's cards by CUDA.
    Cuda,
    /// AMD's cards by ROCm.
    Rocm,
    /// Apple's GPUs by Metal.
    Metal,
    /// Cards by Vulkan, in SPIR-V.
    Vulkan,
    /// Cards by whatever driver there is, in WGSL.
    Wgpu,
}

impl Backend {
    /// All of them, in the order in which `auto` looks for a GPU; the CPU last.
    pub const ALL: [Backend; 6] =
        [Backend::Cuda, Backend::Rocm, Backend::Metal, Backend::Vulkan, Backend::Wgpu, Backend::Cpu];

    /// Its name on the command line; the Cargo feature that a GPU needs is called the same.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::Cuda => "cuda",
            Backend::Rocm => "rocm",
            Backend::Metal => "metal",
            Backend::Vulkan => "vulkan",
            Backend::Wgpu => "wgpu",
        }
    }

    /// Whether this build knows it.
    pub fn is_compiled(self) -> bool {
        match self {
            Backend::Cpu => true,
            Backend::Cuda => cfg!(feature = "cuda"),
            Backend::Rocm => cfg!(feature = "rocm"),
            Backend::Metal => cfg!(feature = "metal"),
            Backend::Vulkan => cfg!(feature = "vulkan"),
            Backend::Wgpu => cfg!(feature = "wgpu"),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A device: its backend, and its number among the backend's devices, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName {
    /// What computes.
    pub backend: Backend,
    /// Which of them.
    pub number: usize,
}

impl DeviceName {
    /// The CPU.
    pub const CPU: Self = Self { backend: Backend::Cpu, number: 0 };
}

impl fmt::Display for DeviceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.backend {
            Backend::Cpu => formatter.write_str("cpu"),
            backend => write!(formatter, "{backend}:{}", self.number),
        }
    }
}

/// What `--device` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// These, at least one.
    These(Vec<DeviceName>),
}

impl FromStr for DeviceChoice {
    type Err = ComputeError;

    fn from_str(text: &str) -> Result<Self, ComputeError> {
        let unknown = || ComputeError::Unknown(text.to_owned());
        // An environment variable that is set to nothing says nothing.
        if text == "auto" || text.is_empty() {
            return Ok(Self::Auto);
        }
        let (name, numbers) = match text.split_once(':') {
            Some((name, numbers)) => (name, Some(numbers)),
            None => (text, None),
        };
        let backend = Backend::ALL.into_iter().find(|backend| backend.name() == name).ok_or_else(unknown)?;
        let mut devices = Vec::new();
        for number in numbers.unwrap_or("0").split(',') {
            let number = number.parse().map_err(|_| unknown())?;
            let device = DeviceName { backend, number };
            if backend == Backend::Cpu && numbers.is_some() {
                return Err(unknown());
            }
            if devices.contains(&device) {
                return Err(ComputeError::Twice(text.to_owned()));
            }
            devices.push(device);
        }
        Ok(Self::These(devices))
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::These(names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                formatter.write_str(&names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<String> {
        text.parse::<DeviceChoice>().ok().map(|choice| choice.to_string())
    }

    #[test]
    fn devices_are_read_by_name_and_number() {
        assert_eq!(names("auto").as_deref(), Some("auto"));
        assert_eq!(names("").as_deref(), Some("auto"));
        assert_eq!(names("cpu").as_deref(), Some("cpu"));
        assert_eq!(names("cuda").as_deref(), Some("cuda:0"));
        assert_eq!(names("wgpu:2").as_deref(), Some("wgpu:2"));
        assert_eq!(names("cuda:0,2").as_deref(), Some("cuda:0, cuda:2"));
    }

    #[test]
    fn what_names_no_device_is_refused() {
        let error_of = |text: &str| text.parse::<DeviceChoice>().unwrap_err().to_string();
        for text in ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:0,", "cpu:1", "cuda:0:1"] {
            let expected =
                format!("no device is called `{text}`: --device and GRAM_DEVICE take auto, cpu, cuda");
            assert!(error_of(text).starts_with(&expected), "{text}");
        }
        assert_eq!(error_of("cuda:0,1,0"), "`cuda:0,1,0` names one device twice");
    }
}
