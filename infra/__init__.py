"""The team's servers: compose.yaml and what stands around it. Nothing of the pipeline imports this."""
