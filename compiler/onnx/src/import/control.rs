//! control - If, Loop and Scan.
