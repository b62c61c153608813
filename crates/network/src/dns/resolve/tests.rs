//! Tests of what is done with a query. Whole answers are tested with real clients in `tests/dns`.

use super::*;

#[test]
fn reverse_names_are_read_whole_or_not() {
    let check = |text: &str, expected: Option<&str>| {
        let name = super::super::wire::from_text(text).unwrap();
        assert_eq!(reverse_address(&name).map(|address| address.to_string()).as_deref(), expected, "{text}");
    };
    check("4.3.2.10.in-addr.arpa", Some("10.2.3.4"));
    check("0.0.0.0.in-addr.arpa", Some("0.0.0.0"));
    let six = format!("{}8.b.d.0.1.0.0.2.ip6.arpa", "1.".to_owned() + &"0.".repeat(23));
    check(&six, Some("2001:db8::1"));
    for bad in [
        "in-addr.arpa",
        "3.2.10.in-addr.arpa",
        "5.4.3.2.10.in-addr.arpa",
        "256.3.2.10.in-addr.arpa",
        "04.3.2.10.in-addr.arpa",
        "+4.3.2.10.in-addr.arpa",
        "a.ip6.arpa",
        &format!("0.{six}"),
        &six[2..],
        &format!("10{}", &six[1..]),
        "4.3.2.10.in-addr.arpa.example",
    ] {
        check(bad, None);
    }
}
