//! Tests of what nodes say, taken together.

mod engine;
mod report;
