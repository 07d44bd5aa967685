//! The targets that JavaScript calls on this thread, by number. A call passes the number in its scratch memory. A method of
//! a handle would cost a third of a microsecond more: the native value and the class of the handle are read from
//! properties of the object, and the borrow is registered in a map that all threads lock.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::rc::Rc;

use cc_lb_engine::call::Target;
use napi::Result;

struct Targets {
    /// The target of each number; `None` for a number in `free`.
    targets: Vec<Option<Rc<Target>>>,
    free: Vec<u32>,
}

thread_local! {
    /// Never dropped: a process that exits keeps its handles, and to drop their engines then could race with its threads.
    static TARGETS: ManuallyDrop<RefCell<Targets>> =
        const { ManuallyDrop::new(RefCell::new(Targets { targets: Vec::new(), free: Vec::new() })) };
}

/// The number of a target on the thread that registered it. The number is free again when this is dropped.
pub(crate) struct Registration(u32);

impl Registration {
    /// Registers a target under a number that is not in use.
    pub(crate) fn new(target: &Target) -> Registration {
        let target = Some(Rc::new(target.clone()));
        TARGETS.with(|registered| {
            let Targets { targets, free } = &mut *registered.borrow_mut();
            let number = free.pop().unwrap_or_else(|| {
                targets.push(None);
                u32::try_from(targets.len() - 1).expect("memory for fewer targets")
            });
            targets[number as usize] = target;
            Registration(number)
        })
    }

    /// The number of the target.
    pub(crate) fn number(&self) -> u32 {
        self.0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let removed = TARGETS.with(|registered| {
            let Targets { targets, free } = &mut *registered.borrow_mut();
            free.push(self.0);
            targets[self.0 as usize].take()
        });
        // Outside the borrow, because dropping a module may run more code.
        drop(removed);
    }
}

/// Returns the target with this number. It outlives its registration, which garbage collection during a call may end.
pub(crate) fn target(number: u32) -> Result<Rc<Target>> {
    let found = TARGETS.with(|registered| registered.borrow().targets.get(number as usize).cloned().flatten());
    found.ok_or_else(|| napi::Error::from_reason(format!("target {number} does not exist")))
}
