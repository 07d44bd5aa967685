//! The hooks of the plugin contract.

/// A hook that a plugin may export.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Hook {
    /// Selects upstreams.
    Filter,
    /// Rewrites the request for an upstream.
    Shape,
    /// Receives events. It is the only hook whose answer may be empty.
    Observe,
    /// Rewrites a response.
    TransformResponse,
    /// Rewrites an event of a streamed response.
    TransformSseEvent,
}

impl Hook {
    /// All hooks in order of declaration. TypeScript passes a hook as its index in this list, and compares its own list
    /// with the names of these exports when it loads the addon.
    pub const ALL: [Hook; 5] =
        [Hook::Filter, Hook::Shape, Hook::Observe, Hook::TransformResponse, Hook::TransformSseEvent];

    /// Returns the hook with this index in [`Hook::ALL`].
    pub fn from_index(index: u32) -> Option<Hook> {
        Hook::ALL.get(index as usize).copied()
    }

    /// The name of the export.
    pub fn export(self) -> &'static str {
        match self {
            Hook::Filter => "cc_lb_filter",
            Hook::Shape => "cc_lb_shape",
            Hook::Observe => "cc_lb_observe",
            Hook::TransformResponse => "cc_lb_transform_response",
            Hook::TransformSseEvent => "cc_lb_transform_sse_event",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_hook_is_its_discriminant() {
        for (index, hook) in (0..).zip(Hook::ALL) {
            assert_eq!(hook as u32, index);
            assert_eq!(Hook::from_index(index), Some(hook));
        }
        assert_eq!(Hook::from_index(5), None);
    }
}
