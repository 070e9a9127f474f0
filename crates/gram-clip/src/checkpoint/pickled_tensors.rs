//! The tensors of a pickle: what PyTorch's own makers would make, and which objects are not read.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use safetensors::tensor::Dtype;

use super::pickle::{Id, Pickle, Value};
use super::place::{Entry, Place, Unread};
use super::torch_error::{TorchError, content};

/// Objects inside objects that are followed.
const DEEPEST: usize = 64;
/// Values that are looked at, repetitions counted.
const MOST: usize = 1_000_000;
/// The classes of a TorchScript archive live below this name; their attributes are read, their code is not.
const TORCH_SCRIPT: &str = "__torch__";
/// What makes a parameter of a tensor.
const PARAMETERS: [&str; 2] = ["_rebuild_parameter", "_rebuild_parameter_with_state"];

/// Where the bytes of each storage lie in the file.
pub type Storages = HashMap<String, Range<usize>>;

/// A way through a pickle to its tensors.
pub struct Walk<'a> {
    pickle: &'a Pickle<'a>,
    storages: &'a Storages,
    found: BTreeMap<String, Entry>,
    seen: usize,
}

impl<'a> Walk<'a> {
    /// From the root of a pickle, whose storages lie where `storages` says.
    pub fn new(pickle: &'a Pickle<'a>, storages: &'a Storages) -> Self {
        Self { pickle, storages, found: BTreeMap::new(), seen: 0 }
    }

    /// What is in it, by the path to it.
    ///
    /// # Errors
    /// [`TorchError::Content`] if it is nested too deeply, or repeats itself too often.
    pub fn run(mut self) -> Result<BTreeMap<String, Entry>, TorchError> {
        self.visit(self.pickle.root(), "", 0)?;
        Ok(self.found)
    }

    /// Bytes of an element of every storage that is mentioned.
    pub fn storage_widths(&self) -> HashMap<String, usize> {
        let width = |value: &Value| match value {
            Value::Persistent(id) => {
                self.storage(*id).and_then(|(key, kind)| Some((key.to_owned(), width_of(kind)?)))
            }
            _ => None,
        };
        self.pickle.values().filter_map(width).collect()
    }

    fn visit(&mut self, id: Id, path: &str, depth: usize) -> Result<(), TorchError> {
        self.seen += 1;
        if depth > DEEPEST || self.seen > MOST {
            return Err(content("its objects are nested too deeply, or repeated too often, for a model"));
        }
        match self.pickle.get(id) {
            Value::Dictionary(pairs) => {
                for (key, value) in pairs {
                    let key = match self.pickle.get(*key) {
                        Value::Text(key) => (*key).to_owned(),
                        Value::Integer(key) => key.to_string(),
                        _ => continue,
                    };
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    self.visit(*value, &path, depth + 1)?;
                }
            }
            Value::Made { maker, arguments, state } => {
                self.made([*maker, *arguments], *state, path, depth)?;
            }
            // Nothing that a model has its weights in.
            _ => {}
        }
        Ok(())
    }

    /// What `maker` makes of the arguments `given` and a state: a tensor, an object of TorchScript, or what
    /// is not known.
    fn made(
        &mut self,
        [maker, arguments]: [Id; 2],
        state: Option<Id>,
        path: &str,
        depth: usize,
    ) -> Result<(), TorchError> {
        let given = self.pickle.sequence_ids(arguments).unwrap_or_default();
        let tensor = match (self.pickle.get(maker), given) {
            (Value::Global(module, _), _) if is_torch_script_class(module) => {
                return state.map_or(Ok(()), |attributes| self.visit(attributes, path, depth + 1));
            }
            (Value::Global("torch._utils", name), [tensor, ..]) if PARAMETERS.contains(name) => {
                return self.visit(*tensor, path, depth + 1);
            }
            // A tensor that was given attributes: what makes it, its class, and the arguments.
            (Value::Global("torch._tensor", "_rebuild_from_type_v2"), [maker, class, arguments, ..])
                if is_tensor_class(self.pickle.get(*class)) =>
            {
                self.tensor(*maker, self.pickle.sequence_ids(*arguments).unwrap_or_default())
            }
            _ => self.tensor(maker, given),
        };
        let entry = match tensor {
            Some(Ok(place)) => Entry::Tensor(place),
            Some(Err(problem)) => Entry::Unread(Unread::Tensor(problem)),
            None => Entry::Unread(Unread::Object(self.pickle.maker_name(maker, arguments))),
        };
        self.found.insert(path.to_owned(), entry);
        Ok(())
    }

    /// The tensor that `maker` makes, or what is wrong with it; nothing if it makes none.
    fn tensor(&self, maker: Id, given: &[Id]) -> Option<Result<Place, String>> {
        match (self.pickle.get(maker), given) {
            (
                Value::Global("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor"),
                [storage, offset, shape, strides, rest @ ..],
            ) => Some(match rest.get(2).map(|bits| self.pickle.get(*bits)) {
                Some(Value::Dictionary(bits)) if !bits.is_empty() => {
                    Err("a view that is negated or conjugated: save it as tensor.resolve_neg()".into())
                }
                _ => self.place([*storage, *offset, *shape, *strides]),
            }),
            _ => None,
        }
    }

    fn place(&self, [storage, offset, shape, strides]: [Id; 4]) -> Result<Place, String> {
        let (key, kind) = match self.pickle.get(storage) {
            Value::Persistent(id) => self.storage(*id).ok_or("no storage that is known")?,
            _ => return Err("no storage".into()),
        };
        let dtype =
            dtype_of(kind).ok_or_else(|| format!("of a {kind}, weights are F32, F16, BF16 or F64"))?;
        let bytes = self.storages.get(key).ok_or("its storage is not in the file")?.clone();
        let sizes = |id: Id| self.pickle.sizes(self.pickle.get(id));
        let (Some(shape), Some(strides)) = (sizes(shape), sizes(strides)) else {
            return Err("no shape".into());
        };
        let Value::Integer(offset) = self.pickle.get(offset) else { return Err("no offset".into()) };
        let offset = usize::try_from(*offset).map_err(|_| "no offset")?;
        Place::strided(bytes, dtype, offset, shape, strides)
            .ok_or_else(|| "it repeats its values, or reaches beyond its storage".into())
    }

    /// Key and kind of a storage: `('storage', kind, key, location, count)`. A sixth element is a part of a
    /// storage, as PyTorch wrote it before 0.4, and is not known here.
    fn storage(&self, id: Id) -> Option<(&'a str, &'a str)> {
        match self.pickle.sequence(id)?.as_slice() {
            [
                Value::Text("storage"),
                Value::Global("torch" | "torch.storage", kind),
                Value::Text(key),
                rest @ ..,
            ] if matches!(rest.get(2), None | Some(Value::None)) => Some((key, kind)),
            _ => None,
        }
    }
}

/// Whether a module's classes are those of a TorchScript archive.
pub fn is_torch_script_class(module: &str) -> bool {
    module.strip_prefix(TORCH_SCRIPT).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn is_tensor_class(class: &Value) -> bool {
    matches!(
        class,
        Value::Global("torch", "Tensor") | Value::Global("torch.nn.parameter", "Parameter" | "Buffer")
    )
}

/// The type of the elements of a kind of storage.
fn dtype_of(kind: &str) -> Option<Dtype> {
    Some(match kind {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "DoubleStorage" => Dtype::F64,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

/// Bytes of an element of a kind of storage, of those too whose elements are never weights.
fn width_of(kind: &str) -> Option<usize> {
    match kind {
        "ComplexDoubleStorage" => Some(16),
        "ComplexFloatStorage" => Some(8),
        "QInt32Storage" => Some(4),
        "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" | "UntypedStorage" => {
            Some(1)
        }
        _ => dtype_of(kind).map(|dtype| dtype.bitsize() / 8),
    }
}
