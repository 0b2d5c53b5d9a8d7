//! Stacks, folded and drawn.

use super::*;

const SCRIPT: &str = "weft-worker
\tffffffff8101 tcp_sendmsg
\t    55d00010 weft::serve::h0123456789abcdef
\t    55d00000 main

weft-worker
\t    55d00020 <weft::Head as Parse>::parse
\t    55d00000 main
";

#[test]
fn stacks_start_with_the_thread() {
    let stacks = stacks(SCRIPT);
    assert_eq!(stacks[0], ["weft-worker", "main", "weft::serve", "tcp_sendmsg"]);
    assert_eq!(stacks.len(), 2);
}

#[test]
fn equal_stacks_are_one_frame_and_names_are_escaped() {
    let mut root = Frame::default();
    for stack in stacks(SCRIPT) {
        root.add(stack.iter().map(String::as_str));
    }
    assert_eq!((root.samples, root.depth(), root.calls["weft-worker"].samples), (2, 4, 2));
    let svg = draw(&root, "t");
    assert!(svg.contains("&lt;weft::Head as Parse&gt;::parse 50.0 %"), "{svg}");
}
