//! Tests of memories that are reused.

use super::super::working_set::SAMPLE_EVERY;
use super::*;

const MIB: usize = 1 << 20;

fn reservation(size: usize) -> Reservation {
    let mut reservation = Reservation::map(MIB, 64 * MIB).expect("address space");
    reservation.resize(size).expect("it grows");
    reservation
}

/// The accessible memory.
fn bytes(reservation: &mut Reservation) -> &mut [u8] {
    // SAFETY: the bytes are accessible and borrowed with the reservation.
    unsafe { std::slice::from_raw_parts_mut(reservation.base(), reservation.size()) }
}

/// Makes a call that writes a byte to each of these pages.
fn call(reservation: &mut Reservation, size: usize, pages: &[usize]) -> bool {
    reservation.resize(size).expect("it grows");
    for &page in pages {
        bytes(reservation)[page * page_bytes()] = 0xa5;
    }
    reservation.reset(usize::MAX)
}

/// Returns the resident pages of the first 64.
fn resident(reservation: &Reservation) -> Vec<usize> {
    let mut pages = Vec::new();
    assert!(PageMap::Entries.visit(reservation.base() as usize, 0..64, |region| pages.extend(region.pages)));
    pages
}

#[test]
fn a_reset_memory_reads_as_zero_at_every_size() {
    let mut reservation = reservation(MIB);
    for size in [MIB, 6 * MIB, 24 * MIB, MIB, 6 * MIB, 24 * MIB] {
        reservation.resize(MIB).expect("it is as large");
        reservation.resize(size).expect("it grows");
        assert!(bytes(&mut reservation).iter().all(|&byte| byte == 0));
        bytes(&mut reservation).fill(0xa5);
        assert!(reservation.reset(usize::MAX));
    }
}

#[test]
fn pages_that_calls_use_stay_resident_and_others_do_not() {
    let mut reservation = reservation(MIB);
    assert!(call(&mut reservation, MIB, &[3, 4, 40]));
    assert!(resident(&reservation).is_empty());
    assert!(call(&mut reservation, MIB, &[3, 4, 50]));
    assert_eq!(resident(&reservation), [3, 4]);
    assert_eq!(reservation.resident_bytes(), 2 * page_bytes());
    assert!(call(&mut reservation, MIB, &[]));
    assert_eq!(resident(&reservation), [3, 4]);
}

#[test]
fn a_call_that_touches_every_page_once_leaves_none_resident() {
    let mut reservation = reservation(MIB);
    let all: Vec<_> = (0..64).collect();
    assert!(call(&mut reservation, MIB, &all));
    for _ in 0..64 {
        assert!(call(&mut reservation, MIB, &[]));
    }
    assert!(call(&mut reservation, MIB, &all));
    assert!(resident(&reservation).is_empty());
}

#[test]
fn a_call_in_many_begins_without_resident_pages() {
    let mut reservation = reservation(MIB);
    let empty = (0..2 * SAMPLE_EVERY)
        .filter(|_| {
            assert!(call(&mut reservation, MIB, &[7]));
            resident(&reservation).is_empty()
        })
        .count();
    // The first call and two samples.
    assert_eq!(empty, 3);
}

#[test]
fn a_small_call_leaves_the_resident_pages_of_large_ones_alone() {
    let mut reservation = reservation(MIB / 16);
    for _ in 0..3 {
        assert!(call(&mut reservation, MIB / 8, &[1, 20]));
    }
    assert!(call(&mut reservation, MIB / 16, &[1]));
    assert_eq!(resident(&reservation), [1, 20]);
    // The guest has not written there since, so it reads zeroes.
    reservation.resize(MIB / 8).expect("it grows");
    assert!(bytes(&mut reservation).iter().all(|&byte| byte == 0));
}

#[test]
fn a_page_that_later_modules_return_unread_leaves() {
    let mut reservation = reservation(MIB);
    let (page, large) = (READ_BYTES / page_bytes() + 10, 2 * READ_BYTES);
    for _ in 0..2 {
        reservation.resize(MIB).expect("it is as large");
        assert!(call(&mut reservation, large, &[page]));
    }
    assert_eq!(reservation.resident_bytes(), page_bytes());
    // Of a memory that is large from the start, pages between both ends are returned without reading the page map.
    for _ in 0..10 * SAMPLE_EVERY {
        assert!(call(&mut reservation, large, &[]));
    }
    assert_eq!(reservation.resident_bytes(), 0);
}

#[test]
fn random_calls_find_zeroes_while_memory_is_compacted() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state).expect("64 bits") % below
    };
    let mut reservation = reservation(MIB);
    assert!(reservation.reset(usize::MAX));
    for round in 0..3_000 {
        if round % 16 == 0 {
            // Requires root; without it, the rounds run without compaction.
            let _ = std::fs::write("/proc/sys/vm/compact_memory", "1");
        }
        let grown = if random(20) == 0 { MIB * random(16) } else { 65_536 * random(8) };
        reservation.resize(MIB).expect("it is as large");
        reservation.resize(MIB + grown).expect("it grows");
        let memory = bytes(&mut reservation);
        assert!(memory.iter().all(|&byte| byte == 0), "round {round}");
        for _ in 0..random(64) {
            let at = random(memory.len());
            memory[at] = 0xa5;
        }
        assert!(reservation.reset(usize::MAX));
    }
}

#[test]
fn the_page_map_shows_exactly_the_pages_that_were_written() {
    // Enough regions for several scans, and enough pages for several reads of entries.
    let pages = 5_000;
    let mut reservation = reservation(pages * page_bytes());
    let is_written = |page: &usize| page.is_multiple_of(3) && page % 1_000 < 300 || (2_040..2_060).contains(page);
    for page in (0..pages).filter(is_written) {
        bytes(&mut reservation)[page * page_bytes()] = 0xa5;
    }
    let maps = [PageMap::Scan, PageMap::Entries].into_iter().filter(|map| is_reliable(*map));
    assert!(maps.clone().count() > 0);
    for map in maps {
        for visited in [0..pages, 1..2, 7..2_048, 2_045..2_050, 300..300] {
            let mut shown = Vec::new();
            assert!(map.visit(reservation.base() as usize, visited.clone(), |region| shown.extend(region.pages)));
            assert_eq!(shown, visited.filter(is_written).collect::<Vec<_>>(), "{map:?}");
        }
    }
}

#[test]
fn the_space_around_a_memory_is_inaccessible() {
    let mut pipe = [0; 2];
    // SAFETY: the array is a live out-parameter.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let reservation = reservation(MIB);
    let readable = |offset: isize| {
        // SAFETY: the kernel validates the address.
        unsafe { libc::write(pipe[1], reservation.base().wrapping_offset(offset).cast(), 1) == 1 }
    };
    assert!(readable(0) && readable(MIB.cast_signed() - 1));
    assert!(!readable(-1) && !readable(-MIB.cast_signed()) && !readable(MIB.cast_signed()));
    // SAFETY: both descriptors are this test's own.
    unsafe { (libc::close(pipe[0]), libc::close(pipe[1])) };
}

#[test]
fn only_what_large_calls_reach_may_get_huge_pages() {
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return;
    }
    let mut reservation = reservation(MIB);
    reservation.resize(12 * MIB).expect("it grows");
    // The flags are `hg` if huge pages are requested and `nh` if they are disabled, independent of the system's
    // default.
    assert!(flags_at(reservation.base() as usize).contains(" nh"));
    assert!(flags_at(reservation.base() as usize + 11 * MIB).contains(" hg"));
    // A module whose initial memory would be in huge pages is the next user.
    assert!(reservation.reset(usize::MAX));
    reservation.resize(12 * MIB).expect("it is accessible");
    assert!(flags_at(reservation.base() as usize + 11 * MIB).contains(" nh"));
}

/// Returns the flags of the mapping at an address.
fn flags_at(address: usize) -> String {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("a map");
    let mut inside = false;
    for line in smaps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let bound = |bound| usize::from_str_radix(bound, 16).ok();
        if let Some((from, to)) = range.and_then(|(from, to)| Some((bound(from)?, bound(to)?))) {
            inside = (from..to).contains(&address);
        }
        if inside && line.starts_with("VmFlags:") {
            return line.to_owned();
        }
    }
    panic!("nothing is mapped there")
}

#[test]
fn a_kernel_that_refuses_to_take_pages_fails_the_reset() {
    // The filter applies only to this thread.
    let results = std::thread::spawn(|| {
        let mut reservation = reservation(MIB);
        assert!(call(&mut reservation, MIB, &[3]) && call(&mut reservation, MIB, &[3]));
        refuse_madvise();
        let known = call(&mut reservation, MIB, &[3]);
        (known, call(&mut reservation, MIB, &[3, 9]))
    });
    assert_eq!(results.join().expect("no panic"), (true, false));
}

/// Makes `madvise` fail on this thread.
fn refuse_madvise() {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let statement = |code: u32, k| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let number = u32::try_from(libc::SYS_madvise).expect("a number");
    let mut program = [
        // The number of the system call is the first field.
        statement(load, 0),
        libc::sock_filter { jf: 1, ..statement(jump, number) },
        statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | libc::EINVAL.cast_unsigned()),
        statement(libc::BPF_RET, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the program is valid and outlives the calls, which copy it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter), 0);
    }
}
