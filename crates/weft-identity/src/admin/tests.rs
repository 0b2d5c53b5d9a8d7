//! Admin credentials: text, file, and who is admitted.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::testing::MemoryFiles;

fn credential() -> (AdminCredential, AdminRecord) {
    AdminCredential::issue("127.0.0.1:15010".parse().unwrap(), KeyHash::from([7; 32])).unwrap()
}

#[test]
fn a_credential_is_read_as_it_is_written() {
    let (credential, record) = credential();
    let files = MemoryFiles::default();
    let path = Path::new("state/admin");
    credential.write(&files, path).unwrap();
    let read = AdminCredential::read(&files, path).unwrap();
    assert_eq!(read.address, credential.address);
    assert_eq!(read.control_key, credential.control_key);
    assert!(record.admits(&read.bearer));
    let sent = Bearer::parse(&credential.bearer.to_text()).unwrap();
    assert!(record.admits(&sent));
}

#[test]
fn only_the_right_secret_under_the_right_id_is_admitted() {
    let ((one, one_record), (other, other_record)) = (credential(), credential());
    assert!(!one_record.admits(&other.bearer) && !other_record.admits(&one.bearer));
    let mixed = Bearer { id: one.bearer.id.clone(), secret: other.bearer.secret.clone() };
    assert!(!one_record.admits(&mixed) && !other_record.admits(&mixed));
    let text = serde_json::to_string(&one_record).unwrap();
    assert!(!text.contains(&*one.bearer.secret.expose()));
    assert_eq!(serde_json::from_str::<AdminRecord>(&text).unwrap(), one_record);
}

#[test]
fn the_file_can_be_read_by_its_owner_only() {
    let directory = std::env::temp_dir().join(format!("weft-admin-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("admin");
    let files = weft_net::world().files;
    credential().0.write(&*files, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(AdminCredential::read(&*files, &path).is_ok());
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn errors_name_the_file_and_not_the_secret() {
    let files = MemoryFiles::default();
    let path = Path::new("state/admin");
    let error = |content: Option<&[u8]>| {
        if let Some(content) = content {
            files.replace(path, content).unwrap();
        }
        let error = AdminCredential::read(&files, path).unwrap_err();
        assert!(error.to_string().contains("state/admin"), "{error}");
        format!("{error} {error:?}")
    };
    assert!(error(None).contains("cannot read"));
    assert!(error(Some(b"weft-join.v1.x")).contains("does not begin with `weft-admin.v1.`"));
    assert!(error(Some(&[0xff; 10])).contains("does not begin with"));
    assert!(error(Some(&[b'x'; 9000])).contains("cannot read"));
    let text = credential().0.to_text();
    let cut = &text[..text.len() - 8];
    let message = error(Some(cut.as_bytes()));
    assert!(!message.contains(&cut[200..]), "{message}");
    files.writes_left.set(Some(0));
    let error = credential().0.write(&files, path).unwrap_err();
    assert!(error.to_string().starts_with("cannot write the admin credential state/admin: "));
}
