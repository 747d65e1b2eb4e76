"""Data as people have them: files and chats -> examples -> token ids with labels. `lorautils data` and `train` read with it."""
