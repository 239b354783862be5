//! What Drover knows of one API server, the management one and every downstream one alike.
//!
//! The crate reads: it keeps objects in a [`Cache`], makes requests within their limits, and says why one failed. What to write,
//! and when, is decided by the crate `drover-runtime`, under whose name operators find all of this.
//!
//! | module | what it does |
//! |---|---|
//! | [`cache`] | reads API servers: informers that lists and watches keep up to date, and read-your-writes |
//! | [`owner`] | the record of the owner of an object, and why the object belongs to it |
//! | [`held`] | what owners held when they were last seen, by the UIDs of objects |
//! | [`drift_conflicts`] | counts how often another client reverts the same write |
//! | [`answer`] | decodes what single requests are answered with |
//! | [`request`] | makes a request within a time limit, and knows its sender and how urgent it is |
//! | [`error`], [`cause`] | the classes of failures, and the one table from which retry, condition and event follow |
//! | [`difference`], [`quantity`] | compares objects, and quantities by value |
//! | [`rights`] | the rights that roles and charts are generated from |
//! | [`addresses`] | which addresses may be dialled |
//! | `testing` (feature `testing`) | an API server in memory |

pub mod addresses;
pub mod answer;
pub mod cache;
pub mod cause;
pub mod difference;
pub mod drift_conflicts;
pub mod error;
pub mod held;
pub mod owner;
pub mod quantity;
mod refusal;
pub mod request;
pub mod rights;
#[cfg(any(test, feature = "testing"))]
#[expect(clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]
pub mod testing;

pub use addresses::{AddressNotAllowed, DialPolicy};
pub use answer::Answer;
pub use cache::{Cache, Informer, Kept, LabelQuery, ObjectKey, OwnerRecord};
pub use cause::{ApiCause, Cause, StatusCause, WriteCause};
pub use error::{ApiError, Class, Classify, Failure};
pub use owner::Title;
pub use rights::{Rights, Rule};
