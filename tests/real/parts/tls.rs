//! A certificate authority for the tests and a leaf for 127.0.0.1 and localhost, made by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::caretaker::temp_folder;
use super::process::run;

/// rustls refuses a self-signed leaf, so there are two certificates.
pub struct TestCa {
    /// What a client must trust.
    pub ca: PathBuf,
    /// What a server shows, the leaf first.
    pub chain: PathBuf,
    pub key: PathBuf,
}

pub fn test_ca() -> &'static TestCa {
    static CA: OnceLock<TestCa> = OnceLock::new();
    CA.get_or_init(|| make(&temp_folder("ca")))
}

fn make(folder: &Path) -> TestCa {
    let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\n\
                      extendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n";
    std::fs::write(folder.join("extensions"), extensions).unwrap();
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -days 3650 -keyout ca.key -out ca.crt -subj /CN=tollgate-test-ca \
         -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign",
    );
    openssl(folder, "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=localhost");
    openssl(folder, "x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 825 -extfile extensions -out leaf.crt");
    let leaf = std::fs::read_to_string(folder.join("leaf.crt")).unwrap();
    let ca = std::fs::read_to_string(folder.join("ca.crt")).unwrap();
    std::fs::write(folder.join("chain.crt"), leaf + &ca).unwrap();
    TestCa { ca: folder.join("ca.crt"), chain: folder.join("chain.crt"), key: folder.join("leaf.key") }
}

fn openssl(folder: &Path, args: &str) {
    let mut command = Command::new("openssl");
    command.args(args.split_whitespace()).current_dir(folder);
    run(&mut command, "", Duration::from_secs(60)).expect_success();
}
