"""What training leaves behind, and how it is used without a Trainer."""
