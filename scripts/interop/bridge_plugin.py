"""Two user plugins for LMCache that keep objects in memory: an adapter class (`plugin`) and a connector (`native_plugin`)."""

import os

from lmcache.lmcache_native import Bitmap
from lmcache.v1.distributed.internal_api import L2StoreResult
from lmcache.v1.distributed.l2_adapters.base import L2AdapterInterface


class MemoryAdapter(L2AdapterInterface):
    """Answers every task when it is submitted."""

    def __init__(self, params, l1_memory_desc=None):
        super().__init__()
        if params.get("fail"):
            raise RuntimeError(params["fail"])
        self.objects, self.results, self.next_task = {}, ({}, {}, {}), 0
        self.events = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]

    def get_store_event_fd(self):
        return self.events[0]

    def get_lookup_and_lock_event_fd(self):
        return self.events[1]

    def get_load_event_fd(self):
        return self.events[2]

    def _finish(self, operation, result):
        self.next_task += 1
        self.results[operation][self.next_task] = result
        os.eventfd_write(self.events[operation], 1)
        return self.next_task

    def submit_store_task(self, keys, objects):
        for key, obj in zip(keys, objects, strict=True):
            self.objects[key] = bytes(obj.byte_array)
        return self._finish(0, L2StoreResult(True, sum(len(self.objects[key]) for key in keys)))

    def pop_completed_store_tasks(self):
        done = dict(self.results[0])
        self.results[0].clear()
        return done

    def _bits(self, found):
        bitmap = Bitmap(len(found))
        for index, hit in enumerate(found):
            if hit:
                bitmap.set(index)
        return bitmap

    def submit_lookup_and_lock_task(self, keys, group_layout_descs):
        return self._finish(1, self._bits([key in self.objects for key in keys]))

    def query_lookup_and_lock_result(self, task_id):
        return self.results[1].pop(task_id, None)

    def submit_unlock(self, keys):
        pass

    def submit_load_task(self, keys, objects):
        for key, obj in zip(keys, objects, strict=True):
            if key in self.objects:
                memoryview(obj.byte_array).cast("B")[:] = self.objects[key]
        return self._finish(2, self._bits([key in self.objects for key in keys]))

    def query_load_result(self, task_id):
        return self.results[2].pop(task_id, None)

    def close(self):
        pass


class MemoryConnector:
    """What LMCache asks of a native connector, without the native part."""

    def __init__(self):
        self.objects, self.done, self.next_future = {}, [], 0
        self.event = os.eventfd(0, os.EFD_NONBLOCK)

    def event_fd(self):
        return self.event

    def _finish(self, results):
        self.next_future += 1
        self.done.append((self.next_future, True, "", results))
        os.eventfd_write(self.event, 1)
        return self.next_future

    def submit_batch_set(self, keys, buffers):
        for key, buffer in zip(keys, buffers, strict=True):
            self.objects[key] = bytes(buffer)
        return self._finish(None)

    def submit_batch_exists(self, keys):
        return self._finish([key in self.objects for key in keys])

    def submit_batch_get(self, keys, buffers):
        for key, buffer in zip(keys, buffers, strict=True):
            if key in self.objects:
                buffer.cast("B")[:] = self.objects[key]
        return self._finish([key in self.objects for key in keys])

    def submit_batch_delete(self, keys):
        return self._finish([self.objects.pop(key, None) is not None for key in keys])

    def drain_completions(self):
        done, self.done = self.done, []
        return done

    def close(self):
        os.close(self.event)
