//! The system calls of a compile process once it reads a module. All others fail with `EPERM`, so an exploited compiler
//! can open no file or socket, start no process and signal none.
//!
//! The compiling thread may make the calls that compiling needs. Node's idle threads must not end the process by a call
//! that fails, and which ones they make depends on its version, so they are only denied those that they never make.

use std::mem::offset_of;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Calls that affect other processes and files, which no thread may make.
const DENIED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_prlimit64,
    libc::SYS_setrlimit,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_openat,
    libc::SYS_openat2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_creat,
    libc::SYS_open_by_handle_at,
    libc::SYS_memfd_create,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_renameat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_truncate,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
];

/// Calls of the compiling thread. One that is missing here fails, and the C library has an alternative for most.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_set_robust_list,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_seccomp,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Skips the given numbers of statements where the loaded value equals `k`, and where it differs.
const fn jump(k: u32, equal: u8, different: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: equal, jf: different, k }
}

/// Restricts the calling thread to the calls of compiling, and every thread of this process to harmless ones, permanently.
/// Returns whether the kernel supports it. The process must have set `PR_SET_NO_NEW_PRIVS`.
pub fn restrict() -> bool {
    const ALL_THREADS: libc::c_ulong = 1;
    let deny = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    install(DENIED, deny, libc::SECCOMP_RET_ALLOW, ALL_THREADS) && install(ALLOWED, libc::SECCOMP_RET_ALLOW, deny, 0)
}

/// Installs a filter with one answer to the listed calls and another to all others.
fn install(calls: &[libc::c_long], listed: u32, others: u32, flags: libc::c_ulong) -> bool {
    const SET_MODE_FILTER: libc::c_ulong = 1;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let mut program = vec![
        statement(LOAD, offset_of!(libc::seccomp_data, arch) as u32),
        jump(ARCHITECTURE, 1, 0),
        // A call of another architecture has other numbers.
        statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        statement(LOAD, offset_of!(libc::seccomp_data, nr) as u32),
        // Numbers of the x32 variant of x64.
        libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16, jt: 0, jf: 1, k: 0x4000_0000 },
        statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    for call in calls {
        program.extend([jump(*call as u32, 0, 1), statement(RETURN, listed)]);
    }
    program.push(statement(RETURN, others));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which outlives the call.
    unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const filter) == 0 }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind::PermissionDenied;
    use std::net::UdpSocket;
    use std::process::Command;

    use super::*;

    const RESTRICTED: &str = "compile::seccomp::tests::a_restricted_process";
    const UNSUPPORTED: i32 = 77;

    #[test]
    fn a_restricted_process_compiles_and_can_do_nothing_else() {
        let program = std::env::current_exe().expect("known");
        let ended = Command::new(program).args(["--exact", RESTRICTED, "--ignored"]).output().expect("started");
        if ended.status.code() == Some(UNSUPPORTED) {
            eprintln!("SKIPPED: the kernel has no seccomp filters");
        } else {
            assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stdout));
        }
    }

    #[test]
    #[ignore = "restricts its process: the other test starts one for it"]
    fn a_restricted_process() {
        let wasm = wat::parse_str("(module (func (export \"f\") (result i32) i32.const 1))").expect("valid");
        // SAFETY: the option takes numbers.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        if !restrict() {
            crate::compile::exit::exit(UNSUPPORTED);
        }
        let code = crate::compile::protocol::JobHeader::decode(&[0; crate::compile::protocol::JOB_HEADER_BYTES]).code;
        assert!(crate::code::compile_code(&code, &wasm).is_ok());
        assert_eq!(File::open("/dev/null").err().map(|error| error.kind()), Some(PermissionDenied));
        assert_eq!(UdpSocket::bind("127.0.0.1:0").err().map(|error| error.kind()), Some(PermissionDenied));
        assert_eq!(Command::new("/bin/true").status().err().map(|error| error.kind()), Some(PermissionDenied));
        let other_thread = std::thread::Builder::new().spawn(|| ());
        assert_eq!(other_thread.err().map(|error| error.kind()), Some(PermissionDenied));
        // SAFETY: signal 0 checks whether the process may be signalled, and has no other effect.
        assert_eq!(unsafe { libc::kill(libc::getppid(), 0) }, -1);
    }
}
