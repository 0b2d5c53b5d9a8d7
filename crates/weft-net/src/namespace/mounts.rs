//! What the command sees of the host's files that say how names are resolved.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};

use super::error::{SetUpError, set_up};

/// How the resolver finds the mesh's name server, and only that.
const NAME_SERVER: &str = "nameserver 127.0.0.1\n";

/// Names with fewer dots than this are tried with the search list first.
///
/// Two, so that `cart.shop` finds the service `cart` of the namespace `shop` before anybody asks
/// the Internet for it; and not more, as Kubernetes has it, since each name of three labels or more
/// would be asked for once for each suffix in vain.
const NDOTS: u8 = 2;

/// Names come from files and from DNS: no daemon of the host's, which is not asked in the
/// namespace's name.
const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: files\ngshadow: files\n\
     hosts: files dns\nnetworks: files\nprotocols: files\nservices: files\nethers: files\n\
     rpc: files\nnetgroup: files\n";

/// Where the tmpfs is mounted while it is filled. It is a directory that every system has, and
/// nobody but this process sees it covered.
const WORKSHOP: &str = "/proc";

/// Where the name service cache daemon listens. It would answer with the host's view.
const CACHES: [&str; 2] = ["/run/nscd", "/var/run/nscd"];

/// The `resolv.conf` of a mount namespace. Only this end of it can be written.
pub struct ResolvConf(File);

impl ResolvConf {
    /// Has short names completed by the suffixes `search`. To be called once.
    ///
    /// # Errors
    /// As `write(2)`.
    pub fn complete_by(&self, search: &[String]) -> io::Result<()> {
        let line = format!("search {}\n", search.join(" "));
        self.0.write_all_at(line.as_bytes(), self.0.metadata()?.len())
    }
}

/// Lets this process's mount namespace, which must be its own, resolve names by the mesh.
///
/// # Errors
/// If the system refuses.
pub fn cover() -> Result<ResolvConf, SetUpError> {
    // What the host mounts later is still seen here; what is mounted here is not seen there.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(set_up("cannot keep mounts from the host"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("weft", WORKSHOP, "tmpfs", flags, c"mode=0755,size=64k,nr_inodes=16")
        .map_err(set_up("cannot mount a tmpfs"))?;
    let covered = cover_from_workshop();
    unmount(WORKSHOP, UnmountFlags::DETACH).map_err(set_up("cannot unmount the tmpfs"))?;
    covered
}

fn cover_from_workshop() -> Result<ResolvConf, SetUpError> {
    let resolv_conf = format!("{NAME_SERVER}options ndots:{NDOTS}\n");
    let cover = |name: &str, content: &str| -> Result<File, SetUpError> {
        let source = Path::new(WORKSHOP).join(name);
        let written = File::create(&source)
            .and_then(|file| file.write_all_at(content.as_bytes(), 0).map(|()| file));
        let file = written.map_err(set_up("cannot write into the tmpfs"))?;
        bind(&source, &Path::new("/etc").join(name))?;
        Ok(file)
    };
    let resolv_conf = cover("resolv.conf", &resolv_conf)?;
    cover("nsswitch.conf", NSSWITCH)?;
    let empty = Path::new(WORKSHOP).join("empty");
    fs::create_dir(&empty).map_err(set_up("cannot write into the tmpfs"))?;
    CACHES.iter().try_for_each(|cache| bind(&empty, Path::new(cache)))?;
    Ok(ResolvConf(resolv_conf))
}

/// Puts `source` in front of `target`, if that is there, so that it cannot be written.
///
/// Where a file is missing, the C library behaves as if it were ours: it asks the name server at
/// 127.0.0.1, and DNS for hosts. Source: resolv.conf(5), nsswitch.conf(5).
fn bind(source: &Path, target: &Path) -> Result<(), SetUpError> {
    match mount_bind(source, target).map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(set_up(format!("cannot cover {}", target.display())))?,
    }
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    mount_remount(target, flags, "")
        .map_err(set_up(format!("cannot make {} read-only", target.display())))
}
