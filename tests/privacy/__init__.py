"""The proof that a private prompt stays at home: thousands of them through the real client while everything fails that can."""
