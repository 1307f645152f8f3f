"""The pictures of a report: a module for each computes its rows from tables, and draws them."""
