//! How much memory this process may use, and how much its group uses.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A limit that the kernel sets on the memory of a group of processes, this one among them.
///
/// Source: Linux, `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    bytes: u64,
    usage: PathBuf,
    statistics: PathBuf,
    /// The lines of the statistics with what is only cached of files and can be dropped.
    cached: [&'static str; 2],
}

impl MemoryLimit {
    /// The limit of this process's control group; none if it has none, or it cannot be read.
    pub fn find() -> Option<MemoryLimit> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        MemoryLimit::of(Path::new("/sys/fs/cgroup"), &groups)
    }

    /// The nearest limit on the way from the group that `groups` names, as in `/proc/self/cgroup`,
    /// to the root of the hierarchy at `root`.
    fn of(root: &Path, groups: &str) -> Option<MemoryLimit> {
        let mut found = None;
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let relative = path.trim_start_matches('/');
            if controllers.is_empty() {
                let limit = |at: &Path| {
                    MemoryLimit::read(
                        at,
                        ("memory.max", "memory.current", ["inactive_file", "active_file"]),
                    )
                };
                found = nearest(root, relative, limit).or(found);
            } else if controllers.split(',').any(|name| name == "memory") {
                let names = (
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    ["total_inactive_file", "total_active_file"],
                );
                found = nearest(&root.join("memory"), relative, |at| MemoryLimit::read(at, names))
                    .or(found);
            }
        }
        found
    }

    fn read(at: &Path, names: (&str, &str, [&'static str; 2])) -> Option<MemoryLimit> {
        let (limit, usage, cached) = names;
        // `max` is no number, and version 1 says no limit by one that no machine has.
        let bytes: u64 = fs::read_to_string(at.join(limit)).ok()?.trim().parse().ok()?;
        let (usage, statistics) = (at.join(usage), at.join("memory.stat"));
        (bytes < 1 << 60).then_some(MemoryLimit { bytes, usage, statistics, cached })
    }

    /// The limit, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much is used, in bytes, sockets included, and without what the kernel can drop: pages of
    /// files, the program's own among them, which are read again when they are needed.
    ///
    /// # Errors
    /// If it cannot be read any more.
    pub fn used(&self) -> io::Result<u64> {
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let used = fs::read_to_string(&self.usage)?.trim().parse::<u64>();
        let statistics = fs::read_to_string(&self.statistics)?;
        let lines = statistics.lines().filter_map(|line| line.split_once(' '));
        let cached = lines.filter(|(name, _)| self.cached.contains(name));
        let cached = cached.filter_map(|(_, value)| value.trim().parse::<u64>().ok());
        Ok(used.map_err(|_| malformed())?.saturating_sub(cached.sum()))
    }
}

/// Gives back to the system what the allocator keeps of memory that nobody uses any more, which may
/// take some milliseconds. Without this, what a process once used it seems to use for ever.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator is C's")]
    // SAFETY: it has no preconditions, and takes the locks of the allocator itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What `limit` says of the innermost directory, from `relative` below `root` upwards.
fn nearest(
    root: &Path,
    relative: &str,
    limit: impl Fn(&Path) -> Option<MemoryLimit>,
) -> Option<MemoryLimit> {
    let whole = root.join(relative);
    // Within a container the path may be the host's, of which only the end is there.
    let mut places = whole.ancestors().take_while(|place| place.starts_with(root));
    places.find_map(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("weft-memory-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn version_2_is_read() {
        let root = tree(
            "v2",
            &[
                ("pod/memory.max", "67108864\n"),
                ("pod/memory.current", "9000\n"),
                ("pod/memory.stat", "anon 1000\ninactive_file 4000\nactive_file 1000\n"),
                ("pod/app/memory.max", "max\n"),
            ],
        );
        let limit = MemoryLimit::of(&root, "0::/pod/app\n").unwrap();
        assert_eq!((limit.bytes(), limit.used().unwrap()), (64 << 20, 4000));
        assert_eq!(MemoryLimit::of(&root, "0::/\n"), None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn version_1_is_read() {
        let root = tree(
            "v1",
            &[
                ("memory/a/memory.limit_in_bytes", "1048576\n"),
                ("memory/a/memory.usage_in_bytes", "500\n"),
                ("memory/a/memory.stat", "cache 9\ninactive_file 7\ntotal_inactive_file 100\n"),
                ("memory/b/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        let limit = MemoryLimit::of(&root, "4:memory:/a\n0::/\n").unwrap();
        assert_eq!((limit.bytes(), limit.used().unwrap()), (1 << 20, 400));
        assert_eq!(MemoryLimit::of(&root, "4:memory:/b\n"), None);
        fs::remove_dir_all(root).unwrap();
    }
}
