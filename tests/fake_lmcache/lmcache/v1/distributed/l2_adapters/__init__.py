"""Stand-in adapters: `fs` keeps files under LMCache's names, `mock` keeps nothing, `plugin` misbehaves by its class name."""

import os
import signal
import sys

# Open as long as this process lives: who reads the other end sees when it is gone.
if "FAKE_LMCACHE_ALIVE" in os.environ:
    ALIVE = os.open(os.environ["FAKE_LMCACHE_ALIVE"], os.O_WRONLY)


class Bitmap:
    def __init__(self, found):
        self.found = found

    def get_indices_list(self):
        return [index for index, found in enumerate(self.found) if found]


class Result:
    def __init__(self, success, count):
        self.success, self.count = success, count

    def is_successful(self):
        return self.success

    def bytes_transferred(self):
        return self.count


class Adapter:
    """Every task is done when its submit returns; the event fd says so."""

    def __init__(self, spec, memory):
        self.spec, self.memory = spec, memory
        self.events = [os.eventfd(0) for _ in range(3)]
        self.results = ({}, {}, {})
        self.next_task = 0
        self.locks = 0

    def get_store_event_fd(self):
        return self.events[0]

    def get_lookup_and_lock_event_fd(self):
        return self.events[1]

    def get_load_event_fd(self):
        return self.events[2]

    def finish(self, operation, result):
        self.next_task += 1
        self.results[operation][self.next_task] = result
        os.eventfd_write(self.events[operation], 1)
        return self.next_task

    def pop_completed_store_tasks(self):
        done = dict(self.results[0])
        self.results[0].clear()
        return done

    def query_lookup_and_lock_result(self, task):
        return self.results[1].pop(task, None)

    def query_load_result(self, task):
        return self.results[2].pop(task, None)

    def submit_store_task(self, keys, objects):
        stored = sum(self.store(key, obj.byte_array) for key, obj in zip(keys, objects, strict=True))
        return self.finish(0, Result(True, stored))

    def submit_lookup_and_lock_task(self, keys, layouts):
        found = [self.exists(key) for key in keys]
        self.locks += sum(found)
        return self.finish(1, Bitmap(found))

    def submit_load_task(self, keys, objects):
        return self.finish(2, Bitmap([self.load(key, obj.byte_array) for key, obj in zip(keys, objects, strict=True)]))

    def submit_unlock(self, keys):
        self.locks -= len(keys)

    def close(self):
        if self.locks:
            raise RuntimeError(f"{self.locks} keys are still locked")

    def store(self, key, view):
        return 0

    def exists(self, key):
        return False

    def load(self, key, view):
        return False


class FSL2Adapter(Adapter):
    def __init__(self, spec, memory):
        super().__init__(spec, memory)
        os.makedirs(spec["base_path"], exist_ok=True)
        # What a library may do: it must not end up in anybody's report or buffers.
        print("a line on standard output")

    def path(self, key):
        name = f"{key.model_name}@{key.kv_rank:#010x}@{key.object_group_id:x}@{key.chunk_hash.hex()}.data"
        return os.path.join(self.spec["base_path"], name)

    def store(self, key, view):
        if self.exists(key):
            return 0
        with open(self.path(key), "wb") as file:
            return file.write(view)

    def exists(self, key):
        return os.path.exists(self.path(key))

    def load(self, key, view):
        if not self.exists(key):
            return False
        with open(self.path(key), "rb") as file:
            return file.readinto(view) == len(view)


class Resp(Adapter):
    """As LMCache's behaves when its server cannot be reached: it is made, and nothing it is asked for ever ends."""

    def submit_store_task(self, keys, objects):
        return 10**6

    def submit_lookup_and_lock_task(self, keys, layouts):
        return 10**6

    def submit_load_task(self, keys, objects):
        return 10**6


class Misbehaving(Adapter):
    def submit_store_task(self, keys, objects):
        kind = self.spec["class_name"]
        if kind == "Dies":
            print("about to die", file=sys.stderr, flush=True)
            os._exit(7)
        if kind == "Hangs":
            return 10**6
        if kind == "Raises":
            raise RuntimeError("no store today")
        if kind == "FailsStores":
            print("ERROR: the disk is made of cheese", file=sys.stderr, flush=True)
            return self.finish(0, Result(False, 0))
        return super().submit_store_task(keys, objects)

    def close(self):
        if self.spec["class_name"] == "FailsToClose":
            raise RuntimeError("it is stuck")


def create_l2_adapter(spec, l1_memory_desc):
    if spec.get("class_name") == "NeedsSdk":
        raise ModuleNotFoundError("No module named 'some_sdk'", name="some_sdk")
    if spec.get("class_name") == "NeverMade":
        signal.pause()
    if spec.get("class_name") == "Refuses":
        raise OSError("connection refused")
    kinds = {"fs": FSL2Adapter, "mock": Adapter, "plugin": Misbehaving, "resp": Resp}
    return kinds[spec["type"]](spec, l1_memory_desc)
