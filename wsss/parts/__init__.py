"""What is made of an artefact so far, so that shards are put together and a killed run resumes."""
