"""The BACnet clients that tests use, tried on a device of bacpypes3."""

from __future__ import annotations

import pytest
from support.bacnet_clients import BacnetError, Maker, bacnet_client, bacpypes
from support.bacnet_frames import FrameRelay, find_malformed
from support.ports import free_port


@pytest.mark.parametrize("maker", Maker)
async def test_a_client_discovers_reads_and_subscribes(maker: Maker) -> None:
    """Each client finds the device, reads values and errors, and receives both kinds of notifications."""
    async with (
        bacpypes(address := f"127.0.0.2:{free_port()}", instance=3101) as device,
        bacnet_client(maker, address) as client,
    ):
        await device.show(1, 21.5)
        found = await client.discover(3101, 3101)
        assert (found.address, found.device, found.vendor) == (address, 3101, 999)
        assert await client.read("analog-input,1", "present-value") == [21.5]
        assert await client.read("analog-input,1", "status-flags") == [[0, 0, 0, 0]]
        assert await client.read("device,3101", "object-list", 1) == [[8, 3101]]
        with pytest.raises(BacnetError) as refused:
            await client.read("analog-input,7", "present-value")
        assert refused.value.args == (1, 31)  # object, unknown-object
        read = await client.read_many({"analog-input,1": ["object-name", "present-value"]})
        assert read == {"analog-input,1": {"object-name": ["AI-1"], "present-value": [21.5]}}
        for process, is_confirmed in enumerate((False, True), 1):
            await client.subscribe("analog-input,1", process=process, is_confirmed=is_confirmed)
            await client.wait_for(lambda: len(client.notifications) == 1)
            notification = client.notifications.pop()
            assert (notification.is_confirmed, notification.process) == (is_confirmed, process)
            assert notification.values == {"present-value": [21.5], "status-flags": [[0, 0, 0, 0]]}


async def test_a_relay_records_frames_which_tshark_judges() -> None:
    """Frames pass the relay unless they are lost; of all frames, only a damaged one is malformed."""
    async with bacpypes(address := f"127.0.0.2:{free_port()}", instance=3101) as device:
        await device.show(1, 21.5)
        with FrameRelay(address) as relay:
            async with bacnet_client(Maker.BACNET_JS, relay.address, answer_within_s=5) as client:
                assert (await client.discover()).address == relay.address
                await client.read("analog-input,1", "present-value")
                relay.is_lost = relay.from_device.__contains__
                with pytest.raises(TimeoutError):
                    await client.read("analog-input,1", "present-value")
    sent = relay.from_device
    assert (len(sent), len(relay.from_clients)) == (3, 3)
    assert find_malformed(sent) == []
    cut = sent[1][:-3]
    (found,) = find_malformed([sent[0], cut[:3] + bytes([len(cut)]) + cut[4:], sent[2]])
    assert found.startswith("1: ")
