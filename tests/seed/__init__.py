"""The published page's five programs, run verbatim against real servers, in six conditions of the world."""
