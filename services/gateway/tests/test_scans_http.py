"""Photos in, answers out, over HTTP."""

from __future__ import annotations

from savo_contracts.scans import ScanRequested


async def test_a_photo_becomes_a_scan_with_its_event(house, jpeg):
    answer = await house.http.post("/v1/scans", files={"image": ("p.jpg", jpeg)}, data={"user_id": "anna", "storage_location": "Fridge"})
    assert answer.status_code == 202, answer.text
    print(answer.json())
    (event,) = await house.published(ScanRequested)
    print(event)
    got = await house.http.get(answer.headers["location"])
    assert got.json() == answer.json()
    for path in ("/training/stats", "/training/progress", "/openapi.json", "/docs", "/", "/asyncapi", "/admin/rollout", "/nope"):
        a = await house.http.get(path)
        print(path, a.status_code, a.text[:300])
