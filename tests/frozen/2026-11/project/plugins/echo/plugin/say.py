def run(word: str) -> str:
    return word  # 1.1.0
