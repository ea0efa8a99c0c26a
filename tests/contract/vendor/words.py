"""The texts of the backend: Korean unless the request asks for English [M, O; shape D]."""

from __future__ import annotations

from typing import Any

_TEXTS = {
    "required": ("이 필드는 필수 항목입니다.", "This field is required."),
    "blank": ("이 필드는 blank일 수 없습니다.", "This field may not be blank."),
    "not a string": ("유효한 문자열이 아닙니다.", "Not a valid string."),
    "not a map": ("사전이 아닙니다.", "Expected a dictionary."),
    "not a boolean": ("유효한 불리언이 아닙니다.", "Must be a valid boolean."),
    "not an integer": ("유효한 정수를 넣어주세요.", "A valid integer is required."),
    "choice": ('"{value}"은/는 유효하지 않은 선택입니다.', '"{value}" is not a valid choice.'),
    "slug": (
        "문자, 숫자, 밑줄 또는 하이픈으로 이루어진 유효한 slug를 입력하세요.",
        "Enter a valid slug of letters, numbers, underscores or hyphens.",
    ),
    "code exists": (  # the text ends so [M]
        "code이/가 같은 플러그인이/가 이미 존재합니다.",
        "plugin with this code already exists.",
    ),
    "version exists": (  # the texts that the publisher looks for [S]
        "이 버전의 릴리스가 이미 존재합니다.",
        "A release of this version already exists.",
    ),
    "locked": ("잠긴 버전은 다시 배포할 수 없습니다.", "A released version is locked."),
    "unknown object": (
        '유효하지 않은 "{value}" - 객체가 존재하지 않습니다.',
        'Invalid value "{value}" - object does not exist.',
    ),
    "not found": ("찾을 수 없습니다.", "Not found."),
    "invalid page": ("페이지가 유효하지 않습니다.", "Invalid page."),
    "forbidden": (
        "이 작업을 수행할 권한(permission)이 없습니다.",
        "You do not have permission to perform this action.",
    ),
    "unauthenticated": (
        "자격 인증데이터(authentication credentials)가 제공되지 않았습니다.",
        "Authentication credentials were not provided.",
    ),
    "bad token": ("토큰이 유효하지 않습니다.", "Invalid token."),
    "method": ('메소드(Method) "{value}"는 허용되지 않습니다.', 'Method "{value}" not allowed.'),
    "media type": (
        '요청된 "{value}" 미디어 타입을 지원하지 않습니다.',
        'Unsupported media type "{value}" in request.',
    ),
    "broken json": ("JSON 구문 오류.", "JSON parse error."),
    "package": (
        "config.yaml이 있는 zip 파일이 아닙니다.",
        "The file is no zip with a config.yaml.",
    ),
    "disagrees": ("config.yaml과 일치하지 않습니다.", "It disagrees with config.yaml."),
    "code fixed": ("code는 변경할 수 없습니다.", "The code cannot be changed."),
    "system": (
        "system_only는 tenant가 없는 공개 플러그인에만 쓸 수 있습니다.",
        "system_only needs a public plugin without a tenant.",
    ),
    "unknown key": ("알 수 없는 설정 키입니다.", "This key is not known."),
    "no release": ("릴리스가 없습니다.", "The plugin has no release."),
    "read only": ("읽기 전용입니다.", "It is read-only."),
}


def say(english: bool, key: str, value: Any = "") -> str:
    """The text in the language of the request."""
    return _TEXTS[key][1 if english else 0].replace("{value}", str(value))
