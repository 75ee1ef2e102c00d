"""The hands: walk the plan, one attempt after another, until one proves completion."""
