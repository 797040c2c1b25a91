import CLoragen
import Learning

/// A caller's progress callback as a closure; `nil` if there is none.
func closure(
    _ callback: loragen_progress_callback?, _ payload: UnsafeMutableRawPointer?
) -> ((Progress) -> Bool)? {
    guard let callback else { return nil }
    return { progress in
        progress.stage.withCString { stage in
            var report = loragen_progress(
                struct_size: MemoryLayout<loragen_progress>.size, stage: stage, step: Int64(progress.step),
                steps: Int64(progress.steps), loss: progress.loss, validation_skill: progress.validationSkill,
                best_skill: progress.bestSkill, steps_per_second: progress.stepsPerSecond,
                seconds_left: progress.secondsLeft)
            return callback(&report, payload) != 0
        }
    }
}
