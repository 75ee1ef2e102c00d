"""The voices, against a scripted upstream and against real peers."""
