"""Data as people have them: files and chats -> examples -> token ids with labels, for `lorautils data` and `train`."""
