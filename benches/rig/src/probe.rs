//! CPU, memory and noise readings from the kernel.

use nix::time::ClockId;
use nix::unistd::Pid;
use std::fs;

/// CPU time of a whole process (all threads, dead ones too), in ns. The kernel's
/// per-process CPU clock is exact; /proc/PID/stat's 10 ms ticks are the fallback.
pub fn cpu_ns(pid: i32) -> Option<u64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok();
    clock.and_then(crate::clock_ns).or_else(|| {
        let s = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let f: Vec<&str> = s.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: u64 = f.get(11)?.parse::<u64>().ok()? + f.get(12)?.parse::<u64>().ok()?;
        Some(ticks * 10_000_000)
    })
}

/// CPU time of the process that asks, in ns.
pub fn self_cpu_ns() -> u64 {
    crate::clock_ns(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap_or(0)
}

fn status_kb(pid: i32, key: &str) -> u64 {
    let Ok(s) = fs::read_to_string(format!("/proc/{pid}/status")) else { return 0 };
    s.lines()
        .find(|l| l.starts_with(key))
        .and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

pub fn rss_kb(pids: &[i32]) -> u64 {
    pids.iter().map(|p| status_kb(*p, "VmRSS:")).sum()
}

pub fn hwm_kb(pids: &[i32]) -> u64 {
    pids.iter().map(|p| status_kb(*p, "VmHWM:")).sum()
}

pub fn cpu_sum(pids: &[i32]) -> u64 {
    pids.iter().filter_map(|p| cpu_ns(*p)).sum()
}

/// (busy, idle, steal) of the machine in ns since boot.
pub fn machine() -> (u64, u64, u64) {
    let s = fs::read_to_string("/proc/stat").unwrap_or_default();
    let f: Vec<u64> =
        s.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|x| x.parse().ok()).collect();
    let g = |i: usize| f.get(i).copied().unwrap_or(0) * 10_000_000;
    (g(0) + g(1) + g(2) + g(5) + g(6), g(3) + g(4), g(7))
}
