//! Pickles, parsed and never run.
//!
//! A pickle is a program for a stack machine; Python's own reader lets it call anything. This one keeps calls as
//! [`Value::Call`] and builds nothing; what a pickle may name at all is a short list ([`ALLOWED`]), and the first other
//! name refuses the file. Values live in an arena and refer to each other by number, so that a pickle of n bytes never
//! takes more than a small multiple of n bytes here, however often it repeats itself. Opcodes: `pickletools` of Python.

use std::collections::HashMap;

/// Names that a checkpoint may mention. Nothing is called: these are the ones whose meaning is known here, or that are
/// known to carry no weights.
const ALLOWED: [(&str, &str); 12] = [
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    ("torch", "device"),
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("torch.jit._pickle", "restore_type_tag"),
];

/// The classes of a TorchScript archive live below this name; their attributes are read, their code is not.
const TORCH_SCRIPT: &str = "__torch__";

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
    /// A function and its arguments. It is not called.
    Call(Id, Id),
    /// What a persistent id says, in checkpoints a storage.
    Persistent(Id),
    /// An object's attributes.
    Object(Option<Id>),
}

/// A parsed pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
    /// Bytes read, with the end mark.
    pub length: usize,
}

/// Why a pickle is no checkpoint's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// It names something that is not on the list.
    #[error("it asks for {0}, which no weights need: it may be malicious, and is not read")]
    Refused(String),
    /// It breaks the format, or uses a part of it that checkpoints do not.
    #[error("byte {0} of its pickle: {1}")]
    Format(usize, &'static str),
}

impl<'a> Pickle<'a> {
    /// Parses the pickle at the start of `bytes`.
    ///
    /// # Errors
    /// [`PickleError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PickleError> {
        Machine {
            bytes,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
        .run()
    }

    /// The outermost value.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The value of a number.
    pub fn get(&self, id: Id) -> &Value<'a> {
        &self.values[id]
    }

    /// The value of a number, if there is one.
    pub fn try_get(&self, id: Id) -> Option<&Value<'a>> {
        self.values.get(id)
    }

    /// The values of a sequence.
    pub fn sequence(&self, id: Id) -> Option<Vec<&Value<'a>>> {
        match self.get(id) {
            Value::Sequence(items) => Some(items.iter().map(|item| self.get(*item)).collect()),
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

/// The stack machine.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Pickle<'a>, PickleError> {
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { values: self.values, root, length: self.at });
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            // Protocol and frame.
            0x80 => _ = self.byte()?,
            0x95 => _ = self.take(8)?,
            // Scalars.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => self.number(1)?,
            b'M' => self.number(2)?,
            b'J' => {
                let value = self.little_endian(4)? as u32;
                self.push(Value::Integer(i64::from(value.cast_signed())));
            }
            0x8a => {
                let count = self.little_endian(1)?;
                self.long(count)?;
            }
            0x8b => {
                let count = self.little_endian(4)?;
                self.long(count)?;
            }
            b'I' | b'L' => {
                let line = self.line()?;
                let value = match line.trim_end_matches('L') {
                    "01" if opcode == b'I' => Value::Bool(true),
                    "00" if opcode == b'I' => Value::Bool(false),
                    digits => Value::Integer(digits.parse().map_err(|_| self.wrong("no integer"))?),
                };
                self.push(value);
            }
            b'G' => {
                let bits = self.take(8)?.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
                self.push(Value::Float(f64::from_bits(bits)));
            }
            b'F' => {
                let value = self.line()?.parse().map_err(|_| self.wrong("no number"))?;
                self.push(Value::Float(value));
            }
            // Texts and bytes.
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'V' => {
                let line = self.line()?;
                self.push(Value::Text(line));
            }
            b'S' => {
                let line = self.line()?;
                let between = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
                self.push(Value::Text(between('\'').or_else(|| between('"')).unwrap_or(line)));
            }
            b'U' | b'C' => self.binary(1)?,
            b'T' | b'B' => self.binary(4)?,
            0x8e | 0x96 => self.binary(8)?,
            // Collections.
            b'(' => self.marks.push(self.stack.len()),
            b')' | b']' | 0x8f => self.push(Value::Sequence(Vec::new())),
            b'}' => self.push(Value::Dictionary(Vec::new())),
            b't' | b'l' | 0x91 => {
                let items = self.pop_to_mark()?;
                self.push(Value::Sequence(items));
            }
            0x85..=0x87 => {
                let first = self.below((opcode - 0x84) as usize)?;
                let items = self.stack.split_off(first);
                self.push(Value::Sequence(items));
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Value::Dictionary(pairs));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let first = self.below(2)?;
                let items = self.stack.split_off(first);
                self.insert(&items)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.insert(&items)?;
            }
            // The stack.
            b'0' => _ = self.pop()?,
            b'1' => _ = self.pop_to_mark()?,
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            // The memo.
            b'p' => {
                let index = self.line()?.parse().map_err(|_| self.wrong("no number in the memo"))?;
                self.remember(index)?;
            }
            b'q' => {
                let index = self.little_endian(1)?;
                self.remember(index)?;
            }
            b'r' => {
                let index = self.little_endian(4)?;
                self.remember(index)?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let index = self.line()?.parse().map_err(|_| self.wrong("no number in the memo"))?;
                self.recall(index)?;
            }
            b'h' => {
                let index = self.little_endian(1)?;
                self.recall(index)?;
            }
            b'j' => {
                let index = self.little_endian(4)?;
                self.recall(index)?;
            }
            // Names, calls and objects.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) => self.global(module, name)?,
                    _ => return Err(self.wrong("a name that is no text")),
                }
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.push(Value::Call(function, arguments));
            }
            0x81 => {
                self.pop()?;
                self.pop()?;
                self.push(Value::Object(None));
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                if let Value::Object(attributes) = &mut self.values[object] {
                    *attributes = Some(state);
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            _ => return Err(self.wrong("an operation that checkpoints do not use")),
        }
        Ok(())
    }

    fn wrong(&self, problem: &'static str) -> PickleError {
        PickleError::Format(self.at.saturating_sub(1), problem)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PickleError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.wrong("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.take(1)?[0])
    }

    fn little_endian(&mut self, count: usize) -> Result<u64, PickleError> {
        Ok(self.take(count)?.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.at..];
        let end =
            rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| self.wrong("it ends too early"))?;
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| self.wrong("a line that is no text"))?;
        self.at += end + 1;
        Ok(line.trim_end_matches('\r'))
    }

    fn number(&mut self, count: usize) -> Result<(), PickleError> {
        let value = self.little_endian(count)?;
        self.push(Value::Integer(value.cast_signed()));
        Ok(())
    }

    /// An integer in two's complement of `count` bytes.
    fn long(&mut self, count: u64) -> Result<(), PickleError> {
        let bytes = self.take(usize::try_from(count).unwrap_or(usize::MAX))?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let filler = if negative { 0xff } else { 0 };
        let value = match bytes.len() {
            0..=8 => {
                let mut eight = [filler; 8];
                eight[..bytes.len()].copy_from_slice(bytes);
                i64::from_le_bytes(eight)
            }
            _ if negative => i64::MIN,
            _ => i64::MAX,
        };
        self.push(Value::Integer(value));
        Ok(())
    }

    fn sized(&mut self, width: usize) -> Result<&'a [u8], PickleError> {
        let count = self.little_endian(width)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    fn text(&mut self, width: usize) -> Result<(), PickleError> {
        let bytes = self.sized(width)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.wrong("a text that is not UTF-8"))?;
        self.push(Value::Text(text));
        Ok(())
    }

    /// Bytes; Python 2 wrote its texts this way.
    fn binary(&mut self, width: usize) -> Result<(), PickleError> {
        let bytes = self.sized(width)?;
        self.push(std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text));
        Ok(())
    }

    fn global(&mut self, module: &'a str, name: &'a str) -> Result<(), PickleError> {
        let script = module == TORCH_SCRIPT || module.starts_with("__torch__.");
        let storage = module == "torch" && name.ends_with("Storage");
        if !script && !storage && !ALLOWED.contains(&(module, name)) {
            let printable =
                |text: &str| text.chars().take(100).flat_map(char::escape_default).collect::<String>();
            return Err(PickleError::Refused(format!("{}.{}", printable(module), printable(name))));
        }
        self.push(Value::Global(module, name));
        Ok(())
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Where the topmost `count` values begin, none of them below the last mark.
    fn below(&self, count: usize) -> Result<usize, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let first = self.stack.len().checked_sub(count).filter(|first| *first >= floor);
        first.ok_or_else(|| self.wrong("its stack is empty"))
    }

    fn top(&self) -> Result<Id, PickleError> {
        Ok(self.stack[self.below(1)?])
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let mark = self.marks.pop().ok_or_else(|| self.wrong("no mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, PickleError> {
        match items.len().is_multiple_of(2) {
            true => Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()),
            false => Err(self.wrong("a key without a value")),
        }
    }

    fn extend(&mut self, items: Vec<Id>) -> Result<(), PickleError> {
        let sequence = self.top()?;
        match &mut self.values[sequence] {
            Value::Sequence(all) => all.extend(items),
            _ => return Err(self.wrong("items for what is no list")),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<(), PickleError> {
        let (pairs, dictionary) = (self.pairs(items)?, self.top()?);
        match &mut self.values[dictionary] {
            Value::Dictionary(all) => all.extend(pairs),
            // An OrderedDict is made by a call, and filled afterwards.
            value @ Value::Call(..) => *value = Value::Dictionary(pairs),
            _ => return Err(self.wrong("entries for what is no dictionary")),
        }
        Ok(())
    }

    fn remember(&mut self, index: u64) -> Result<(), PickleError> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Result<(), PickleError> {
        let value = *self.memo.get(&index).ok_or_else(|| self.wrong("nothing there in the memo"))?;
        self.stack.push(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(bytes: &[u8]) -> Result<Value<'_>, PickleError> {
        let pickle = Pickle::parse(bytes)?;
        Ok(pickle.get(pickle.root()).clone())
    }

    #[test]
    fn scalars_are_read_in_every_protocol() {
        assert_eq!(root(b"I42\n."), Ok(Value::Integer(42)));
        assert_eq!(root(b"I01\n."), Ok(Value::Bool(true)));
        assert_eq!(root(b"L-7L\n."), Ok(Value::Integer(-7)));
        assert_eq!(root(b"\x80\x02J\xff\xff\xff\xff."), Ok(Value::Integer(-1)));
        assert_eq!(root(b"\x80\x02\x8a\x01\x80."), Ok(Value::Integer(-128)));
        assert_eq!(root(b"\x80\x02\x8a\x00."), Ok(Value::Integer(0)));
        assert_eq!(root(b"G\x3f\xf8\0\0\0\0\0\0."), Ok(Value::Float(1.5)));
        assert_eq!(root(b"\x80\x04\x95\x05\0\0\0\0\0\0\0\x8c\x02hi\x94."), Ok(Value::Text("hi")));
        assert_eq!(root(b"S'ctx'\n."), Ok(Value::Text("ctx")));
    }

    #[test]
    fn a_name_that_is_not_on_the_list_refuses_the_file() {
        let system = root(b"cos\nsystem\nS'echo owned'\n\x85R.").unwrap_err();
        assert_eq!(system, PickleError::Refused("os.system".into()));
        let stacked = root(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.").unwrap_err();
        assert_eq!(stacked, PickleError::Refused("builtins.eval".into()));
        // Even if it is thrown away again.
        assert!(root(b"cos\nsystem\n0N.").is_err());
        assert!(root(b"c__torch__x\nf\n.").is_err());
    }

    #[test]
    fn an_ordered_dictionary_is_a_dictionary() {
        let bytes = b"ccollections\nOrderedDict\n)Rq\x00(X\x01\0\0\0aK\x01X\x01\0\0\0bK\x02u.";
        let pickle = Pickle::parse(bytes).unwrap();
        let Value::Dictionary(pairs) = pickle.get(pickle.root()) else { panic!() };
        assert_eq!(
            pairs.iter().map(|(key, _)| pickle.get(*key)).collect::<Vec<_>>(),
            [&Value::Text("a"), &Value::Text("b")]
        );
    }

    #[test]
    fn what_breaks_the_format_is_told_and_never_a_panic() {
        for bytes in [
            &b""[..],
            b".",
            b"(",
            b"t.",
            b"0.",
            b"K",
            b"X\xff\xff\xff\xffa.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"h\x00.",
            b"(K\x01d.",
            b"K\x01K\x02a.",
            b"K\x01K\x02K\x03s.",
            b"Ix\n.",
            b"Fx\n.",
            b"c\xff\n\n.",
            b"(K\x01\x85e.",
            b"P0\n.",
            b"\x82\x01.",
            b"R.",
            b"Q.",
            b"\x93.",
            b"(b.",
        ] {
            assert!(matches!(Pickle::parse(bytes), Err(PickleError::Format(..))), "{bytes:?}");
        }
    }

    #[test]
    fn a_pickle_that_repeats_itself_stays_small() {
        // Each list holds the one before it ten times: 10^1000 leaves, but a thousand lists.
        let mut bytes = b"]q\x00".to_vec();
        for _ in 0..1000 {
            bytes.extend_from_slice(b"]");
            bytes.extend_from_slice(&b"h\x00a".repeat(10));
            bytes.extend_from_slice(b"q\x00");
        }
        bytes.push(b'.');
        assert_eq!(Pickle::parse(&bytes).unwrap().values.len(), 1001);
    }
}
