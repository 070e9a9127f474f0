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

/// What would make the root.
fn maker(bytes: &[u8]) -> String {
    let pickle = Pickle::parse(bytes).unwrap();
    let Value::Made { maker, arguments, .. } = pickle.get(pickle.root()) else {
        panic!("{:?}", pickle.get(pickle.root()))
    };
    pickle.maker_name(*maker, *arguments)
}

#[test]
fn what_a_name_would_make_is_known_by_the_name_alone() {
    assert_eq!(maker(b"cos\nsystem\nS'echo owned'\n\x85R."), "os.system");
    assert_eq!(maker(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93)R."), "builtins.eval");
    assert_eq!(maker(b"\x80\x02cargparse\nNamespace\n)\x81}X\x01\0\0\0aK\x01sb."), "argparse.Namespace");
    assert_eq!(maker(b"\x80\x04\x8c\x01a\x8c\x01B\x93)}\x92."), "a.B");
    assert_eq!(maker(b"(K\x01ia\nB\n."), "a.B");
    assert_eq!(maker(b"(ca\nB\nK\x01o."), "a.B");
    assert_eq!(maker(b"ccopy_reg\n_reconstructor\n(ca\nB\nc__builtin__\nobject\nNtR."), "a.B");
    assert_eq!(maker(b"(X\x06\0\0\0moduleca\nB\nX\0\0\0\0X\0\0\0\0tQ)\x81."), "a.B");
    assert_eq!(maker(b"ca\x1b[1m\nB\n)\x81."), "a\\u{1b}[1m.B");
    assert_eq!(maker(b"K\x01)R."), "what has no name");
}

#[test]
fn what_is_put_into_an_object_stays_unknown_and_ends_nothing() {
    // A subclass of a dictionary, of a list, and a set of protocol 2.
    assert_eq!(maker(b"\x80\x02ca\nDict\n)\x81(X\x01\0\0\0aK\x01u}b."), "a.Dict");
    assert_eq!(maker(b"\x80\x02ca\nList\n)\x81(K\x01K\x02e."), "a.List");
    assert_eq!(maker(b"\x80\x02c__builtin__\nset\n](K\x01e\x85R."), "__builtin__.set");
}

#[test]
fn a_text_that_is_not_utf_8_is_bytes() {
    assert_eq!(root(b"X\x03\0\0\0\xed\xb3\xa9."), Ok(Value::Bytes(b"\xed\xb3\xa9")));
    assert_eq!(root(b"\x80\x05\x96\x02\0\0\0\0\0\0\0\xff\0."), Ok(Value::Bytes(b"\xff\0")));
}

#[test]
fn dictionaries_that_are_made_and_then_filled_are_dictionaries() {
    let ordered = b"ccollections\nOrderedDict\n)R(X\x01\0\0\0aK\x01u}b.";
    let default = b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R(X\x01\0\0\0aK\x01u}b.";
    for bytes in [&ordered[..], default] {
        assert!(matches!(root(bytes), Ok(Value::Dictionary(pairs)) if pairs.len() == 1), "{bytes:?}");
    }
}

#[test]
fn an_ordered_dictionary_keeps_its_order() {
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
        b"(o.",
        b"ia\nB\n.",
        b"\x92.",
        b"\x97.",
        b"R.",
        b"Q.",
        b"\x93.",
        b"(b.",
    ] {
        assert!(matches!(Pickle::parse(bytes), Err(PickleError { .. })), "{bytes:?}");
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
