//! The built program, with its output kept.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::eventually;

pub struct Program {
    child: Child,
    dir: PathBuf,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Runs `claude-proxy` with `config` as its config.json.
    pub fn start(args: &[&str], config: &str) -> Self {
        Self::start_in(args, config, |_, _| {})
    }

    /// As [`Program::start`]; `more` files go into its directory, and variables into its
    /// environment, which names no proxies by itself.
    pub fn start_in(args: &[&str], config: &str, more: impl FnOnce(&Path, &mut Command)) -> Self {
        Self::start_as(config, |program, dir| {
            let mut command = Command::new(program);
            command.args(args);
            more(dir, &mut command);
            command
        })
    }

    /// As [`Program::start`], by a command of the caller's; it is given the program and its
    /// directory.
    pub fn start_as(config: &str, command: impl FnOnce(&str, &Path) -> Command) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.json"), config).unwrap();
        let mut command = command(env!("CARGO_BIN_EXE_claude-proxy"), &dir);
        let set: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
        command.current_dir(&dir);
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"]
            .into_iter()
            .flat_map(|name| [name.to_owned(), name.to_uppercase()])
            .chain(["CONFIG_PATH".to_owned(), "NODE_EXTRA_CA_CERTS".to_owned()])
        {
            if !set.iter().any(|given| *given == *name) {
                command.env_remove(name);
            }
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let mut readers = Vec::new();
        let sources: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for source in sources {
            let output = Arc::clone(&output);
            readers.push(std::thread::spawn(move || {
                for line in BufReader::new(source).lines() {
                    let Ok(line) = line else { return };
                    let mut output = output.lock().unwrap();
                    output.push_str(&line);
                    output.push('\n');
                }
            }));
        }
        Self { child, dir, output, readers }
    }

    /// Where its config.json is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The lines of its log with this message, with `--log-format json`.
    pub fn lines(&self, message: &str) -> Vec<serde_json::Value> {
        self.output()
            .lines()
            .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
            .filter(|l| l["message"] == message)
            .collect()
    }

    #[cfg(target_os = "linux")]
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Processes that it has started and that are still there.
    #[cfg(target_os = "linux")]
    pub fn children(&self) -> usize {
        let parent = self.child.id().to_string();
        let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.unwrap().path().join("stat")).ok()?;
            // `1234 (name) S 1233 ...`: the name may hold anything.
            let mut rest = stat.rsplit_once(") ")?.1.split(' ');
            Some((rest.next()? != "Z", rest.next()? == parent))
        });
        all.filter(|state| *state == (true, true)).count()
    }

    /// Resident memory, in bytes.
    #[cfg(target_os = "linux")]
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// All that it has written so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Where it says that it listens.
    pub fn addr(&self) -> SocketAddr {
        let mut addr = None;
        eventually("it says where it listens", || {
            let output = self.output().replace("\u{1b}[1m", "").replace("\u{1b}[0m", " ");
            let line = output.lines().find_map(|l| l.split_once("listens on ")?.1.split_once("://"));
            addr = line.map(|(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
            addr.is_some()
        });
        addr.unwrap()
    }

    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end: exit code and everything it wrote.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut code = None;
        eventually("it ends", || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (code, self.output())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
