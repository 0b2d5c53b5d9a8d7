//! Bytes that are not looked into, and the tunnel's own opening, in raw bytes.

use crate::seconds;
use crate::talk::{Hops, Talk, play, play_through};

#[test]
fn bytes_pass_both_ways_and_so_do_ends() {
    play([
        Talk::opaque("the caller speaks first")
            .sends("hello")
            .app_gets("hello")
            .app_sends("you")
            .gets("you")
            .ends()
            .app_ended()
            .app_sends("late")
            .app_ends()
            .gets("late")
            .ended(),
        Talk::opaque("the server speaks first, and ends first")
            .app_sends("220 ready")
            .gets("220 ready")
            .app_ends()
            .ended()
            .sends("quit")
            .app_gets("quit")
            .ends()
            .app_ended(),
        Talk::opaque("a server that says something and goes, leaving bytes unread")
            .sends("are you there")
            .app_gets("are")
            .app_sends("too busy")
            .app_leaves()
            .gets("too busy")
            .broken(),
        Talk::opaque("a caller that says something and goes, leaving bytes unread")
            .app_sends("220 ready")
            .pause(seconds(1))
            .sends("quit")
            .leaves()
            .app_gets("quit")
            .app_ended(),
        Talk::opaque("a caller that goes").sends("a").app_gets("a").leaves().app_ended(),
    ]);
}

#[test]
fn what_was_said_arrives_although_nobody_listens_any_more() {
    // The server leaves a byte unread, so that a reset follows what it said. The caller is still
    // busy with the first of it when it sends something that cannot be delivered.
    let said = "x".repeat(180_000);
    let talk = Talk::opaque("a server that says much and goes")
        .sends("a")
        .app_sends(&said)
        .pause(seconds(5))
        .app_leaves()
        .pause(seconds(5))
        .sends("b")
        .pause(seconds(5))
        .gets(&said)
        .broken();
    play_through(&[Hops::One], [talk]);
}
