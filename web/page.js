// The original follows the marked video: it plays, pauses and jumps with it, without sound.
() => {
    const player = (name) => document.querySelector(`#${name} video`);
    const follow = (event) => {
        const leader = player("marked");
        const follower = player("original");
        if (!leader || !follower || event.target !== leader) return;
        follower.muted = true;
        follower.playbackRate = leader.playbackRate;
        // A player that is always corrected would stutter.
        const tolerance = leader.paused ? 0.01 : 0.2;
        if (Math.abs(follower.currentTime - leader.currentTime) > tolerance) follower.currentTime = leader.currentTime;
        if (event.type === "play") follower.play().catch(() => {});
        if (event.type === "pause") follower.pause();
    };
    // Events of media do not bubble, but they can be captured on their way down.
    for (const kind of ["play", "pause", "seeked", "timeupdate", "ratechange"]) {
        document.addEventListener(kind, follow, true);
    }
    window.aussShowTime = (seconds) => {
        const leader = player("marked");
        if (!leader || seconds === null) return;
        leader.pause();
        leader.currentTime = seconds;
    };
}
