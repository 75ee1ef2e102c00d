"""The mind. Pure: the same facts and policy give the same decision."""
