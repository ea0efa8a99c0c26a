"""In which language a refusal is worded: Korean, unless `Accept-Language` prefers English."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from synapse_apply.emulator.core.fields import ApiError

# The English texts of refusals, and their translations in Django and Django REST framework.
_TRANSLATIONS = {
    r"This field is required\.": "이 필드는 필수 항목입니다.",
    r"This field may not be blank\.": "이 필드는 blank일 수 없습니다.",
    r"This field may not be null\.": "이 필드는 null일 수 없습니다.",
    r"This field cannot be changed\.": "이 필드는 변경할 수 없습니다.",
    r"This value does not match the required pattern\.": "형식에 맞지 않는 값입니다.",
    r"Not a valid string\.": "유효한 문자열이 아닙니다.",
    r"Null characters are not allowed\.": "null 문자는 허용되지 않습니다.",
    r"Must be a valid boolean\.": "유효한 boolean이어야 합니다.",
    r"A valid integer is required\.": "유효한 정수(integer)를 넣어주세요.",
    r"Value must be valid JSON\.": "유효한 JSON 값이어야 합니다.",
    r'"(.*)" is not a valid choice\.': r'"\1"은 유효하지 않은 선택(choice)입니다.',
    r"Select a valid choice\. (.*) is not one of the available choices\.": (
        r"올바르게 선택해 주세요. \1 이/가 선택가능항목에 없습니다."
    ),
    r'Expected a dictionary of items but got type "(.*)"\.': (
        r'아이템 딕셔너리가 예상되었으나 "\1" 타입을 받았습니다.'
    ),
    r'Expected a list of items but got type "(.*)"\.': (
        r'아이템 리스트가 예상되었으나 "\1"를 받았습니다.'
    ),
    r"Invalid data\. Expected a dictionary, but got (.*)\.": (
        r"유효하지 않은 데이터. 딕셔너리(dictionary) 대신 \1를 받았습니다."
    ),
    r"Ensure this field has no more than (\d+) characters\.": (
        r"이 필드의 글자 수가 \1 이하인지 확인하십시오."
    ),
    r"Enter a valid date/time\.": "올바른 날짜/시각을 입력하세요.",
    r"Datetime has wrong format\.": "Datetime의 포멧이 잘못되었습니다.",
    r'Enter a valid "slug".*': (
        '문자, 숫자, 밑줄(_) 또는 하이픈(-)으로 이루어진 "slug"를 입력하세요.'
    ),
    r"JSON parse error - (.*)": r"JSON 구문 분석 오류 - \1",
    r"Multipart form parse error - (.*)": r"Multipart form 구문 분석 오류 - \1",
    r"The submitted file is empty\.": "제출된 파일이 비어있습니다.",
    r"The submitted data was not a file\..*": (
        "제출된 데이터는 파일이 아닙니다. 제출된 파일의 인코딩 형식을 확인하세요."
    ),
    r'Invalid pk "(.*)" - object does not exist\.': (
        r'유효하지 않은 pk "\1" - 객체가 존재하지 않습니다.'
    ),
    r"Object with code=(.*) does not exist\.": r"code=\1 객체가 존재하지 않습니다.",
    r"Incorrect type\. Expected (.*) value\.": r"잘못된 형식입니다. \1 값이어야 합니다.",
    r"Not found\.": "찾을 수 없습니다.",
    r"Invalid page\.": "페이지가 유효하지 않습니다.",
    r"Invalid cursor": "커서(cursor)가 유효하지 않습니다.",
    r"Invalid token\.": "토큰이 유효하지 않습니다.",
    r"Authentication credentials were not provided\.": "자격 인증데이터가 제공되지 않았습니다.",
    r"You do not have permission to perform this action\.": "이 작업을 수행할 권한이 없습니다.",
    r'Method "(.*)" not allowed\.': r'메소드(Method) "\1"는 허용되지 않습니다.',
    r'Unsupported media type "(.*)" in request\.': r'요청된 "\1" 미디어 타입은 지원되지 않습니다.',
    r"A server error occurred\.": "서버 장애가 발생했습니다.",
    r"A plugin with code .* already exists\.": "플러그인의 code은/는 이미 존재합니다.",
    r"Version (.*) of plugin .* already exists\.": r"버전 \1은/는 이미 존재합니다.",
    r"A plugin with this name already exists.*": "플러그인의 name은/는 이미 존재합니다.",
}
_TRANSLATION_RULES = {re.compile(rule, re.DOTALL): text for rule, text in _TRANSLATIONS.items()}


def prefers_english(accept_language: str) -> bool:
    """Whether an `Accept-Language` header (RFC 9110, 12.5.4) prefers English to Korean."""
    weights = {"en": 0.0, "ko": 0.0}
    for item in accept_language.split(","):
        tag, _, parameter = item.partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language in weights:
            with suppress(ValueError):  # what is no number weighs nothing
                weight = float(parameter.partition("=")[2]) if "=" in parameter else 1.0
                weights[language] = max(weights[language], weight)
    # Equal weights, as without the header, leave the server's own language.
    return weights["en"] > weights["ko"]


def translate_error(error: ApiError) -> ApiError:
    """The refusal with its texts in Korean; status, code and keys stay."""
    body, code, details = _translate_texts(error.body), error.code, error.details
    return ApiError(error.status, body, error.headers, code=code, details=details)


def _translate_texts(value: Any) -> Any:
    """Texts in Korean; one without a translation is unchanged."""
    if isinstance(value, str):
        for rule, korean in _TRANSLATION_RULES.items():
            if rule.fullmatch(value):
                # The parts that a pattern captures, such as a value, stay as they are.
                return rule.sub(korean, value, count=1)
    if isinstance(value, Mapping):
        return {key: _translate_texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_translate_texts(item) for item in value]
    return value
