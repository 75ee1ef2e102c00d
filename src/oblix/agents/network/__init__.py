"""What a sender can know of the way to the cloud: estimators and one state machine. Pure: no clock, no socket, no thread."""
