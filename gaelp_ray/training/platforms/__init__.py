"""Ad platforms: the port that real ones are behind, and a sandbox that behaves as badly as they do."""
