//! Finds the tasks and names the task of a call.
