//! Needs LORAGEN_TEST_CORPUS, a corpus of bits, and LORAGEN_TEST_GENERATOR, a generator that was trained on it;
//! Tests/hosts/run_hosts.sh provides both.

use loragen::{Condition, Corpus, Error, Format, Generator, Request, SaveOptions, Split, TrainingOptions};
use std::env;
use std::ops::ControlFlow::{Break, Continue};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn corpus() -> Corpus {
    Corpus::open(variable("LORAGEN_TEST_CORPUS")).unwrap()
}

fn generator() -> Generator {
    Generator::open(variable("LORAGEN_TEST_GENERATOR")).unwrap()
}

/// A held-out task.
fn bits() -> String {
    let corpus = corpus();
    let entry = corpus.entries().find(|entry| entry.split == Split::Test).unwrap();
    entry.bits.unwrap().to_owned()
}

fn temporary(name: &str) -> PathBuf {
    let path = env::temp_dir().join(format!("loragen-rust-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn a_generator_says_what_it_makes() {
    let generator = generator();
    let info = generator.info();
    assert_eq!(generator.modules().len(), info.module_count);
    let values: usize = generator.modules().iter().map(|m| m.rank * (m.inputs + m.outputs)).sum();
    assert_eq!(values, info.value_count);
    assert!(generator.report().starts_with('{'));
}

#[test]
fn threads_share_a_generator_and_get_the_same_bytes() {
    let (generator, bits) = (generator(), bits());
    let expected = generator.generate(&Request::bits(&bits)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let adapters = generator.generate(&Request::bits(&bits)).unwrap();
                for (a, b) in adapters.sample(0).tensors().zip(expected.sample(0).tensors()) {
                    assert_eq!((a.name, a.shape, a.data), (b.name, b.shape, b.data));
                }
            });
        }
    });
}

#[test]
fn tensors_borrow_from_the_adapters() {
    let (generator, bits) = (generator(), bits());
    let adapters = generator.generate(&Request { samples: 2, ..Request::bits(&bits) }).unwrap();
    drop(generator); // not needed by them
    assert_eq!(adapters.len(), 2);
    assert_eq!(adapters.modules().len() * 2, adapters.sample(1).tensors().len());
    let name = adapters.sample(0).tensors().next().unwrap().name;
    let tensor = adapters.sample(1).tensor(name).unwrap();
    assert_eq!(tensor.data.len() as i64, tensor.shape.iter().product::<i64>());
    assert!(tensor.norm() > 0.0);
    assert!(adapters.sample(0).origin().unwrap().starts_with('{'));
}

#[test]
fn bad_requests_are_errors() {
    let (generator, bits) = (generator(), bits());
    let error = generator.generate(&Request::vector(&[1.0])).unwrap_err();
    assert!(matches!(error, Error::Mismatch(_)), "{error:?}");
    let vector = vec![f32::NAN; bits.len()];
    let error = generator.generate(&Request::vector(&vector)).unwrap_err();
    assert!(matches!(error, Error::NonFinite(_)), "{error:?}");
    let error = generator.generate(&Request { samples: -1, ..Request::bits(&bits) }).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
    let error = generator.generate(&Request { condition: Condition::Bits("0\u{0}"), ..Request::default() });
    assert!(matches!(error, Err(Error::InvalidArgument(_))));
    assert!(generator.generate(&Request::default()).is_err());
    let error = Generator::open("/does/not/exist").unwrap_err();
    assert!(matches!(error, Error::Io(_)) && error.message().contains("/does/not/exist"));
}

#[test]
fn what_is_saved_can_be_opened() {
    let (generator, bits) = (generator(), bits());
    let adapters = generator.generate(&Request::bits(&bits)).unwrap();
    let path = temporary("saved");
    let options = SaveOptions { keep_alpha: true, ..SaveOptions::default() };
    adapters.sample(0).save_with(&path, Format::Peft, options).unwrap();
    let read = loragen::Adapters::open(&path).unwrap();
    for (a, b) in adapters.sample(0).tensors().zip(read.sample(0).tensors()) {
        assert_eq!((a.name, a.shape, a.data), (b.name, b.shape, b.data));
    }
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn training_is_cancelled_by_break_and_by_panic() {
    let (corpus, path) = (corpus(), temporary("cancelled"));
    let options = TrainingOptions::default();
    let mut calls = 0;
    let error = loragen::train(&corpus, &path, &options, &mut |progress| {
        assert!(!progress.stage.is_empty());
        calls += 1;
        Break(())
    });
    assert!(matches!(error, Err(Error::Cancelled(_))), "{error:?}");
    assert_eq!(calls, 1);

    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _ = loragen::train(&corpus, &path, &options, &mut |_| panic!("from the callback"));
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"from the callback"));
    assert!(!path.exists());
}

#[test]
fn training_makes_a_generator() {
    let (corpus, path) = (corpus(), temporary("ridge"));
    let options = TrainingOptions { method: "ridge", ..TrainingOptions::default() };
    loragen::train(&corpus, &path, &options, &mut |_| Continue(())).unwrap();
    assert_eq!(Generator::open(&path).unwrap().info().method, "ridge");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn checking_a_corpus_lists_its_problems() {
    assert_eq!(Corpus::check(variable("LORAGEN_TEST_CORPUS")).unwrap(), Vec::<String>::new());
    assert!(!Corpus::check("/does/not/exist").map_or(vec![String::new()], |problems| problems).is_empty());
}

#[test]
fn adapters_are_compared_and_a_corpus_looked_at() {
    let corpus = variable("LORAGEN_TEST_CORPUS");
    let adapters = generator().generate(&Request::bits(&bits())).unwrap();
    let same = loragen::compare(adapters.sample(0), adapters.sample(0)).unwrap();
    assert!(same.json().starts_with('{') && same.text().contains("cosine") && same.svg().is_none());
    assert!(loragen::nearest(adapters.sample(0), &corpus, 3).unwrap().json().contains("neighbours"));
    let diagnosis = loragen::doctor(&corpus, 0, &mut |_| Continue(())).unwrap();
    assert_eq!(diagnosis.errors(), 0);
    assert!(diagnosis.svg().unwrap().starts_with("<svg"));
    assert!(matches!(loragen::doctor(&corpus, 0, &mut |_| Break(())), Err(Error::Cancelled(_))));
    let options =
        loragen::ImportOptions { dry_run: true, same_base: vec![("".into(), "b".into())], ..Default::default() };
    assert!(matches!(loragen::import_corpus("nowhere", &options), Err(Error::InvalidArgument(_) | Error::Io(_))));
}
