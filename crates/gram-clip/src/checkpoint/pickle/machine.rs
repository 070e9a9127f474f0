//! The stack machine of pickles: what every opcode does to values that are never made.

use std::collections::HashMap;

use super::{Id, Pickle, PickleError, Value};

/// Dictionaries that are made by a call without arguments and filled afterwards, by module and name. A
/// `defaultdict`, whose argument makes what is missing, is another.
const DICTIONARIES: [(&str, &str); 3] =
    [("collections", "OrderedDict"), ("builtins", "dict"), ("__builtin__", "dict")];

/// The stack machine.
pub struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    /// At the start of `bytes`, with nothing on the stack.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, values: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// Reads up to the end mark.
    ///
    /// # Errors
    /// [`PickleError`].
    pub fn run(mut self) -> Result<Pickle<'a>, PickleError> {
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
            0x8c => self.binary(1)?,
            b'X' => self.binary(4)?,
            0x8d => self.binary(8)?,
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
                self.push(Value::Global(module, name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) => self.push(Value::Global(module, name)),
                    _ => return Err(self.wrong("a name that is no text")),
                }
            }
            b'R' | 0x81 => {
                let (arguments, maker) = (self.pop()?, self.pop()?);
                self.make(maker, arguments);
            }
            0x92 => {
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.make(class, arguments);
            }
            b'i' => {
                let class = Value::Global(self.line()?, self.line()?);
                let arguments = self.pop_to_mark()?;
                let (class, arguments) = (self.keep(class), self.keep(Value::Sequence(arguments)));
                self.make(class, arguments);
            }
            b'o' => {
                let mut arguments = self.pop_to_mark()?;
                if arguments.is_empty() {
                    return Err(self.wrong("an object without a class"));
                }
                let class = arguments.remove(0);
                let arguments = self.keep(Value::Sequence(arguments));
                self.make(class, arguments);
            }
            b'b' => {
                let (given, object) = (self.pop()?, self.top()?);
                if let Value::Made { state, .. } = &mut self.values[object] {
                    *state = Some(given);
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
        PickleError { at: self.at.saturating_sub(1), problem }
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

    /// A text, or bytes. Python 2 wrote its texts as bytes, and Python 3 lets half a pair of UTF-16 stand in
    /// a text, as in paths that are not UTF-8: what is UTF-8 is a text.
    fn binary(&mut self, width: usize) -> Result<(), PickleError> {
        let bytes = self.sized(width)?;
        self.push(std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text));
        Ok(())
    }

    /// What `maker` would make of `arguments`; a dictionary that is filled afterwards is one.
    fn make(&mut self, maker: Id, arguments: Id) {
        let dictionary = match (&self.values[maker], &self.values[arguments]) {
            (Value::Global(module, "defaultdict"), _) => *module == "collections",
            (Value::Global(module, name), Value::Sequence(arguments)) => {
                arguments.is_empty() && DICTIONARIES.contains(&(*module, *name))
            }
            _ => false,
        };
        self.push(match dictionary {
            true => Value::Dictionary(Vec::new()),
            false => Value::Made { maker, arguments, state: None },
        });
    }

    fn push(&mut self, value: Value<'a>) {
        let id = self.keep(value);
        self.stack.push(id);
    }

    fn keep(&mut self, value: Value<'a>) -> Id {
        self.values.push(value);
        self.values.len() - 1
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
            // What an object holds is known to its class alone.
            Value::Made { .. } => {}
            _ => return Err(self.wrong("items for what is no list")),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<(), PickleError> {
        let (pairs, dictionary) = (self.pairs(items)?, self.top()?);
        match &mut self.values[dictionary] {
            Value::Dictionary(all) => all.extend(pairs),
            Value::Made { .. } => {}
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
