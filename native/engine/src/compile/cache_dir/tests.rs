//! Tests of the files that a cache directory rejects and evicts.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const KEY: Key = [7; 32];

/// A directory that is removed after the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Temporary {
        let path = std::env::temp_dir().join(format!("cc-lb-cache-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Temporary(path)
    }

    fn open(&self, max_bytes: u64) -> Arc<CacheDir> {
        CacheDir::open(&self.0, None, KEY, max_bytes).expect("it opens")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn found(directory: &CacheDir, name: &ImageName) -> Option<Vec<u8>> {
    directory.find(name, 1_000)
}

#[test]
fn an_image_is_found_under_its_name_alone() {
    let (temporary, name) = (Temporary::new("found"), ImageName::new("a", 1));
    let directory = temporary.open(10_000);
    assert_eq!(found(&directory, &name), None);
    directory.keep(&name, b"image");
    assert_eq!(found(&directory, &name).as_deref(), Some(&b"image"[..]));
    assert_eq!(found(&directory, &ImageName::new("a", 2)), None);
    assert_eq!(found(&directory, &ImageName::new("b", 1)), None);
    let stats = directory.stats();
    assert_eq!((stats.hits, stats.misses, stats.rejected, stats.writes), (1, 3, 0, 1));
}

#[test]
fn whatever_is_not_the_image_that_was_kept_is_refused_counted_and_removed() {
    let (temporary, name, other) = (Temporary::new("bad"), ImageName::new("a", 1), ImageName::new("b", 1));
    let directory = temporary.open(100_000);
    let path = directory.path_of(&name);
    type Damage = fn(&Path, &Path);
    let damages: [Damage; 8] = [
        |path, _| fs::write(path, b"").expect("written"),
        |path, _| {
            let mut bytes = fs::read(path).expect("read");
            *bytes.last_mut().expect("not empty") ^= 1;
            fs::write(path, bytes).expect("written");
        },
        |path, _| {
            let bytes = fs::read(path).expect("read");
            fs::write(path, &bytes[..bytes.len() - 1]).expect("written");
        },
        |path, _| {
            let mut bytes = fs::read(path).expect("read");
            bytes.resize(5_000, 0);
            fs::write(path, bytes).expect("written");
        },
        // A valid image under another name.
        |path, other| {
            fs::copy(other, path).expect("copied");
        },
        |path, _| fs::set_permissions(path, PermissionsExt::from_mode(0o622)).expect("changed"),
        |path, other| {
            fs::remove_file(path).expect("removed");
            symlink(other, path).expect("linked");
        },
        |path, _| {
            fs::remove_file(path).expect("removed");
            let text = std::ffi::CString::new(path.to_str().expect("text")).expect("no zero");
            // SAFETY: the path is a live, null-terminated string.
            assert_eq!(unsafe { libc::mkfifo(text.as_ptr(), 0o600) }, 0);
        },
    ];
    for (index, damage) in damages.iter().enumerate() {
        directory.keep(&name, b"image");
        directory.keep(&other, b"another");
        damage(&path, &directory.path_of(&other));
        assert_eq!(found(&directory, &name), None, "damage {index}");
        assert_eq!(directory.stats().rejected, index as u64 + 1);
        assert!(fs::symlink_metadata(&path).is_err(), "damage {index}");
    }
}

#[test]
fn an_image_of_another_key_is_refused() {
    let (temporary, name) = (Temporary::new("key"), ImageName::new("a", 1));
    temporary.open(10_000).keep(&name, b"image");
    let other = CacheDir::open(&temporary.0, Some([8; 32]), KEY, 10_000).expect("it opens");
    assert_eq!(found(&other, &name), None);
    assert_eq!(other.stats().rejected, 1);
}

#[test]
fn a_directory_keeps_the_key_that_it_was_given_first() {
    let (temporary, name) = (Temporary::new("first"), ImageName::new("a", 1));
    temporary.open(10_000).keep(&name, b"image");
    let again = CacheDir::open(&temporary.0, None, [9; 32], 10_000).expect("it opens");
    assert!(found(&again, &name).is_some());
    let mode = fs::metadata(temporary.0.join(KEY_FILE)).expect("it is there").mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_images_that_were_not_used_for_longest_are_evicted() {
    let temporary = Temporary::new("evict");
    let directory = temporary.open(3 * (100 + HEADER_BYTES as u64));
    let names: Vec<_> = (0..4).map(|number| ImageName::new("a", number)).collect();
    for (age, name) in names[..3].iter().enumerate() {
        directory.keep(name, &[0; 100]);
        let at = SystemTime::now() - Duration::from_secs(100 - age as u64);
        File::open(directory.path_of(name)).and_then(|file| file.set_modified(at)).expect("changed");
    }
    assert!(found(&directory, &names[0]).is_some());
    directory.keep(&names[3], &[0; 100]);
    let kept: Vec<bool> = names.iter().map(|name| found(&directory, name).is_some()).collect();
    assert_eq!(kept, [true, false, true, true]);
    assert_eq!(directory.stats().evictions, 1);
    directory.keep(&names[1], &[0; 1_000]);
    assert!(found(&directory, &names[0]).is_some(), "what is too large for the directory evicts nothing");
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let temporary = Temporary::new("open");
    fs::create_dir(&temporary.0).expect("created");
    fs::set_permissions(&temporary.0, PermissionsExt::from_mode(0o777)).expect("changed");
    let error = CacheDir::open(&temporary.0, None, KEY, 1).err().expect("refused");
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn a_link_or_a_file_is_no_directory() {
    let (temporary, target) = (Temporary::new("link"), Temporary::new("target"));
    target.open(1);
    symlink(&target.0, &temporary.0).expect("linked");
    assert!(CacheDir::open(&temporary.0, None, KEY, 1).is_err());
    fs::remove_file(&temporary.0).expect("removed");
    fs::write(&temporary.0, b"").expect("written");
    assert!(CacheDir::open(&temporary.0, None, KEY, 1).is_err());
    fs::remove_file(&temporary.0).expect("removed");
}

#[test]
fn processes_with_equal_ids_do_not_share_temporary_names() {
    let temporary = Temporary::new("names");
    let [first, second] = [[1; 32], [2; 32]].map(|key| {
        let directory = CacheDir::open(&temporary.0, Some(KEY), key, key[0].into()).expect("it opens");
        directory.temporary_path()
    });
    assert_ne!(first, second);
}

#[test]
fn a_temporary_file_of_a_killed_process_is_removed_and_stops_nobody() {
    let (temporary, name) = (Temporary::new("abandoned"), ImageName::new("a", 1));
    let directory = temporary.open(10_000);
    let left = temporary.0.join("0-0.tmp");
    let file = File::create(&left).expect("created");
    directory.keep(&name, b"image");
    assert!(left.exists(), "another process may be writing it");
    file.set_modified(SystemTime::now() - 2 * ABANDONED).expect("changed");
    directory.keep(&name, b"image");
    assert!(!left.exists());
}

#[test]
fn several_writers_and_readers_of_one_image_see_a_whole_image_or_none() {
    let (temporary, name) = (Temporary::new("race"), ImageName::new("a", 1));
    let opened = |new_key: u8| CacheDir::open(&temporary.0, None, [new_key; 32], 100_000 + u64::from(new_key));
    // Separate openings have nothing in common but the directory, like those of separate processes.
    let directories: Vec<_> = (0..4).map(|new_key| opened(new_key).expect("it opens")).collect();
    std::thread::scope(|scope| {
        for directory in &directories {
            let name = &name;
            scope.spawn(move || {
                for _ in 0..50 {
                    directory.keep(name, &[7; 900]);
                    assert_eq!(found(directory, name), Some(vec![7; 900]));
                }
            });
        }
    });
    let total = |count: fn(&CacheDirStats) -> u64| directories.iter().map(|one| count(&one.stats())).sum::<u64>();
    assert_eq!((total(|stats| stats.rejected), total(|stats| stats.write_failures)), (0, 0));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn an_image_of_another_cpu_has_another_name() {
    // A target without the features of this CPU, which every one of the last decades has.
    let mut baseline = wasmtime::Config::new();
    baseline.target("x86_64-unknown-linux-gnu").expect("known");
    let [own, other] = [wasmtime::Config::new(), baseline].map(|config| {
        let engine = wasmtime::Engine::new(&config).expect("supported");
        ImageName::new("a", engine.precompile_compatibility_hash())
    });
    assert_ne!(own.0, other.0);
}
