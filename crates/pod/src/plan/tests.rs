//! plan tests follow
