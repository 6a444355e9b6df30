"""Evidence packs: built, verified, written as PDF."""
