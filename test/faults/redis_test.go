package faults_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"longshore/test/cluster"
)

var relayed = cluster.Options{RedisRelay: true}

// redisKinds: the lock may lie or be gone at any time. Placements go on, and
// nothing that runs is touched.
func redisKinds() []kind {
	return []kind{
		{row: "locks flushed while placing", times: 10, busy: true, still: true, inject: flush},
		{row: "locks flushed at rest", times: 6, still: true, inject: flush},
		{row: "locks flushed all the time, HA token", times: 6, busy: true, still: true, inject: flushing},
		{row: "kill -9, restart empty", times: 8, busy: true, still: true, inject: redisKilled},
		{row: "kill -9, restart with old locks", times: 6, busy: true, still: true, inject: redisOld},
		{row: "down", times: 4, busy: true, live: true, still: true, inject: redisDown},
		{row: "paused 5 s", times: 6, busy: true, live: true, still: true, inject: redisPaused(5 * time.Second)},
		{row: "paused 30 s", times: 2, busy: true, still: true, inject: redisPaused(30 * time.Second)},
		{row: "out of memory (maxmemory)", times: 4, busy: true, live: true, still: true, inject: redisConfig("maxmemory", "1", "0")},
		{row: "READONLY", times: 4, busy: true, live: true, still: true, inject: redisReadOnly},
		{row: "LOADING", times: 3, busy: true, live: true, still: true, inject: redisLoading},
		{row: "answers swallowed 10 s", times: 4, busy: true, still: true, options: relayed, inject: redisSwallowed},
		{row: "every answer 0 to 2 s late", times: 3, busy: true, live: true, still: true, options: relayed, inject: redisLate(100, 2*time.Second)},
		{row: "one in five answers 2 s late", times: 3, busy: true, live: true, still: true, options: relayed, inject: redisLate(20, 4*time.Second)},
		{row: "script cache flushed", times: 4, busy: true, still: true, inject: scriptFlush},
	}
}

// redis runs redis-cli, which must succeed.
func (s *stage) redis(args ...string) string {
	s.t.Helper()
	out, err := s.c.RedisCLI(args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// redisAnswers waits until it does.
func (s *stage) redisAnswers() {
	s.t.Helper()
	cluster.Eventually(s.t, 30*time.Second, "Redis answers", func() error {
		_, err := s.c.RedisCLI("ping")
		return err
	})
}

func flush(s *stage) func() {
	s.redis("flushall")
	return nil
}

func flushing(s *stage) func() {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		s.redis("flushall")
		s.lasts(20 * time.Millisecond)
	}
	return nil
}

func scriptFlush(s *stage) func() {
	s.redis("script", "flush")
	return nil
}

func redisKilled(s *stage) func() {
	s.c.Redis.Kill()
	return func() { s.c.Redis.Start(); s.redisAnswers() }
}

// redisOld: it comes back with the locks of a while ago.
func redisOld(s *stage) func() {
	s.redis("save")
	s.lasts(3 * time.Second)
	s.c.Redis.Kill()
	return func() {
		s.c.Redis.Start()
		s.redisAnswers()
		if err := os.Remove(filepath.Join(s.c.Dir, "dump.rdb")); err != nil {
			s.t.Error(err)
		}
	}
}

// redisDown: placing goes on without locks.
func redisDown(s *stage) func() {
	s.c.Redis.Kill()
	return func() { s.c.Redis.Start(); s.redisAnswers() }
}

func redisPaused(d time.Duration) func(*stage) func() {
	return func(s *stage) func() {
		s.c.Redis.Signal(syscall.SIGSTOP)
		s.lasts(d)
		return func() { s.c.Redis.Signal(syscall.SIGCONT) }
	}
}

func redisConfig(name, bad, good string) func(*stage) func() {
	return func(s *stage) func() {
		s.redis("config", "set", name, bad)
		return func() { s.redis("config", "set", name, good) }
	}
}

// redisReadOnly: it is a replica of a server that nobody has.
func redisReadOnly(s *stage) func() {
	s.redis("config", "set", "replica-serve-stale-data", "yes")
	s.redis("replicaof", "127.0.0.1", "1")
	return func() { s.redis("replicaof", "no", "one") }
}

// redisLoading: it starts with a large file, which takes it ten seconds.
func redisLoading(s *stage) func() {
	s.redis("eval", "for i = 1, 400 do redis.call('set', 'stuffing' .. i, i) end", "0")
	s.redis("save")
	s.c.Redis.Kill()
	s.c.Redis.StartWith("--key-load-delay", "25000", "--loading-process-events-interval-bytes", "1024")
	s.see("Redis says LOADING", func() error {
		if out, err := s.c.RedisCLI("get", "x"); err == nil || !strings.Contains(out+err.Error(), "LOADING") {
			return errNotYet
		}
		return nil
	})
	return func() {
		s.redisAnswers()
		s.redis("flushall")
		if err := os.Remove(filepath.Join(s.c.Dir, "dump.rdb")); err != nil {
			s.t.Error(err)
		}
	}
}

func redisSwallowed(s *stage) func() {
	s.c.Relay.Swallow()
	s.lasts(10 * time.Second)
	return s.c.Relay.Clear
}

func redisLate(percent int, longest time.Duration) func(*stage) func() {
	return func(s *stage) func() {
		s.c.Relay.Delay(percent, longest)
		return s.c.Relay.Clear
	}
}
