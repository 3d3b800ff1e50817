//! The C header means what the Rust module means: a C program and this one exchange messages in one memory.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use guest_channel::{Error, Link, Memory, Presence, State};

/// Bytes of the shared memory.
const BYTES: usize = 512;

/// Memory that goes to the C program and comes back.
#[derive(Clone, Debug)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Memory for Shared {
    fn size(&self) -> usize {
        BYTES
    }
    fn acquire(&self, offset: usize) -> u64 {
        let bytes = self.0.borrow();
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
    }
    fn release(&self, offset: usize, value: u64) {
        self.0.borrow_mut()[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }
    fn read(&self, offset: usize) -> u64 {
        self.acquire(offset)
    }
    fn write(&self, offset: usize, value: u64) {
        self.release(offset, value);
    }
}

/// Returns the C compiler, that of the environment first.
fn compiler() -> Command {
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
    command.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"]);
    command.arg(include);
    command
}

/// Returns the C program, built.
fn program() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("bulkhead-header-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("end");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/end.c");
    let status = compiler().arg(source).arg("-o").arg(&program).status();
    assert!(
        status
            .expect("a C compiler, which linking needs too")
            .success()
    );
    program
}

/// Runs the C end; returns what it says.
fn run(program: &Path, memory: &Shared, words: &[&str]) -> String {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes = memory.0.borrow().clone();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    *memory.0.borrow_mut() = output.stdout;
    String::from_utf8(output.stderr).unwrap()
}

/// Receives a text.
fn receive(link: &mut Link<Shared>) -> Result<Option<String>, Error> {
    let mut buffer = [0; 256];
    let length = link.receive(&mut buffer)?;
    Ok(length.map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned()))
}

#[test]
fn c_and_rust_exchange_messages_and_notice_a_restart() {
    let program = program();
    let memory = Shared(Rc::new(RefCell::new(vec![0; BYTES])));
    let life = |generation| Presence {
        generation,
        runs: true,
    };
    let mut link = Link::new(memory.clone(), 0, 5).unwrap();
    assert_eq!(link.meet(life(7)), State::Waiting);
    // Side 1 in its life 7 talks to life 5 of side 0.
    let said = run(&program, &memory, &["1", "7", "5", "x", "hello, world", ""]);
    assert_eq!(said, "state 2\n");
    assert_eq!(link.meet(life(7)), State::Opened);
    for wanted in ["x", "hello, world", ""] {
        assert_eq!(receive(&mut link), Ok(Some(wanted.to_owned())));
    }
    assert_eq!(receive(&mut link), Ok(None));
    // Many more bytes than a ring has, so that both wrap; the C end goes on where it was.
    for n in 0..40 {
        let forth = format!("message {n} to C");
        link.send(forth.as_bytes()).unwrap();
        let said = run(&program, &memory, &["1", "7", "5", "back"]);
        assert_eq!(said, format!("state 2\nmessage {forth}\n"));
        assert_eq!(receive(&mut link), Ok(Some("back".to_owned())));
    }
    let full = run(
        &program,
        &memory,
        &["1", "7", "5", &"y".repeat(150), &"z".repeat(150)],
    );
    assert_eq!(full, format!("state 2\nsent {}: -2\n", "z".repeat(150)));
    assert_eq!(
        run(&program, &memory, &["1", "8", "5", "new"]),
        "state 1\nsent new: -4\n"
    );
    assert_eq!(receive(&mut link), Err(Error::Down));
    assert_eq!(link.meet(life(8)), State::Opened);
    let said = run(&program, &memory, &["1", "8", "5", "new"]);
    assert_eq!(said, "state 2\n");
    assert_eq!(link.meet(life(8)), State::Up);
    assert_eq!(receive(&mut link), Ok(Some("new".to_owned())));
    // A count that lies.
    memory.write(0x08, 200);
    let said = run(&program, &memory, &["1", "8", "5"]);
    assert_eq!(said, "state 2\nended by -5\n");
}

#[test]
fn the_header_stands_alone() {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/bulkhead.h");
    let output = compiler()
        .args(["-fsyntax-only", "-pedantic", "-x", "c"])
        .arg(header)
        .output()
        .expect("a C compiler");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
