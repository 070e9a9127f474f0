//! Pickles, parsed and never run.
//!
//! A pickle is a program for a stack machine; Python's own reader lets it import and call anything. This one
//! builds nothing: what a call or a class would make stays [`Value::Made`], with the name of its maker, and
//! whoever looks for tensors decides which makers it knows. Values live in an arena and refer to each other
//! by number, so that a pickle of n bytes never takes more than a small multiple of n bytes here, however
//! often it repeats itself. Opcodes: `pickletools` of Python; all that protocols 2 to 5 use are read, but
//! those of the extension registry (`EXT1`, `EXT2`, `EXT4`) and of buffers outside the file, which mean
//! nothing without the program that wrote them.

mod machine;
#[cfg(test)]
mod tests;

use machine::Machine;

/// The number of a value in its [`Pickle`].
pub type Id = usize;

/// A value; the values inside it are numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer; those beyond 64 bits are cut to the nearest.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A tuple, list or set.
    Sequence(Vec<Id>),
    /// A dictionary, in order.
    Dictionary(Vec<(Id, Id)>),
    /// A module and a name in it.
    Global(&'a str, &'a str),
    /// What a persistent id says, in checkpoints a storage.
    Persistent(Id),
    /// What a function or a class would make of arguments and a state. It is not made.
    Made {
        /// The function or class.
        maker: Id,
        /// Its arguments.
        arguments: Id,
        /// The state that the object was given, in most cases its attributes.
        state: Option<Id>,
    },
}

/// A parsed pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
    /// Bytes read, with the end mark.
    pub length: usize,
}

/// A pickle that breaks the format, or uses a part of it that checkpoints do not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of its pickle: {problem}")]
pub struct PickleError {
    /// The byte.
    pub at: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

impl<'a> Pickle<'a> {
    /// Parses the pickle at the start of `bytes`.
    ///
    /// # Errors
    /// [`PickleError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PickleError> {
        Machine::new(bytes).run()
    }

    /// The outermost value.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The value of a number.
    pub fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id]
    }

    /// The values of a sequence.
    pub fn sequence(&self, id: Id) -> Option<Vec<&Value<'a>>> {
        Some(self.sequence_ids(id)?.iter().map(|item| self.get(*item)).collect())
    }

    /// Every value, in the order in which they were read.
    pub fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.values.iter()
    }

    /// Module and name of a function or class, `os.system`; nothing for what is neither.
    pub fn name(&self, id: Id) -> Option<String> {
        let named = match self.get(id) {
            // Before PyTorch 1.6 a file kept a module's source beside its class: `('module', class, file,
            // source)`.
            Value::Persistent(id) => match self.sequence(*id)?[..] {
                [Value::Text("module"), class, ..] => class,
                _ => return None,
            },
            value => value,
        };
        match named {
            Value::Global(module, name) => Some(format!("{}.{}", printable(module), printable(name))),
            _ => None,
        }
    }

    /// The name of what would make a value. Python's own `copyreg` makes whatever its first argument names.
    pub fn maker_name(&self, maker: Id, arguments: Id) -> String {
        let made = match (self.get(maker), self.sequence_ids(arguments)) {
            (Value::Global("copyreg" | "copy_reg", _), Some([class, ..])) => self.name(*class),
            _ => None,
        };
        made.or_else(|| self.name(maker)).unwrap_or_else(|| "what has no name".into())
    }

    /// The numbers of the values of a sequence.
    pub fn sequence_ids(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// A sequence of integers that are not negative.
    pub fn sizes(&self, value: &Value<'a>) -> Option<Vec<usize>> {
        let Value::Sequence(items) = value else { return None };
        let size = |item: &Id| match self.get(*item) {
            Value::Integer(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        items.iter().map(size).collect()
    }
}

/// At most a hundred characters of a name, without those that a terminal would act on.
fn printable(name: &str) -> String {
    name.chars().take(100).flat_map(char::escape_default).collect()
}
