//! Starts that are killed: the first one, the one after it, and one that makes a credential anew.

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use super::{KILLS_OF_STARTS, Member, Mesh, Span, draw, killed_start, now};
use crate::draw::Draw;
use crate::{Control, Directory, run};

/// What is in the directory of a control plane that has started, and nothing else.
const FILES: [&str; 8] = [
    "admin",
    "authority.json",
    "control-key.pem",
    "intermediate-1.pem",
    "root-1-key.pem",
    "root-1.pem",
    "store.redb",
    "store.redb.lock",
];

#[test]
fn a_control_plane_that_is_killed_while_it_starts_starts_again() {
    let mut draw = draw();
    let (mut first, mut later) = (Span::default(), Span::default());
    // Nobody is killed in this one, to learn how long the first start takes.
    first.length = whole(&mesh());
    for _ in 0..KILLS_OF_STARTS / 3 {
        let mesh = mesh();
        let before = [(); 2].map(|()| killed(&mesh, &mut first, &mut draw));
        later.length = whole(&mesh);
        if before == [None, None] {
            // It was as good as a first one, and the machine may be slower by now.
            first.length = later.length;
        }
        for before in before.into_iter().flatten() {
            assert_eq!(before, keys(&mesh), "what was there is made anew");
        }

        fs::remove_file(mesh.data().join("admin")).unwrap();
        killed(&mesh, &mut later, &mut draw);
        whole(&mesh);
    }
    first.is_hit();
}

fn mesh() -> Mesh {
    Mesh { directory: Directory::new(), listen: "127.0.0.1:0".to_owned(), version: Cell::new(0) }
}

/// Kills a start; the keys, if it had said that it was ready.
fn killed(mesh: &Mesh, span: &mut Span, draw: &mut Draw) -> Option<Vec<Vec<u8>>> {
    let is_ready = killed_start(mesh, span.moment(draw));
    if is_ready {
        span.done += 1
    } else {
        span.cut += 1
    }
    is_ready.then(|| keys(mesh))
}

/// Starts, and sees that all is there and of use; how long the start took.
fn whole(mesh: &Mesh) -> Duration {
    let began = now();
    let _control = Control::start(&mesh.directory, &mesh.listen);
    let took = now().since(began);
    let mut files: Vec<_> =
        fs::read_dir(mesh.data()).unwrap().map(|entry| entry.unwrap()).collect();
    files.sort_by_key(|entry| entry.file_name());
    let files: Vec<_> = files.iter().map(|entry| entry.file_name()).collect();
    assert_eq!(files, FILES);
    let found = mesh.look();
    assert_eq!(found.listed.objects.len(), 1, "the Mesh");
    let mut member = Member::join(mesh, "shop/cart", &[]);
    run(member.joiner.renew(&member.slot)).unwrap();
    took
}

/// What never changes.
fn keys(mesh: &Mesh) -> Vec<Vec<u8>> {
    FILES[1..5].iter().map(|name| fs::read(mesh.data().join(name)).unwrap()).collect()
}
